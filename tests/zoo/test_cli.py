"""Bad input: one clear message, the documented exit code, no traceback, nothing lost."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.command import READER_LEFT
from zoo import sample, train
from zoo.checkpoints import checkpoint

MiB = 1 << 20


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def words(text: str) -> str:
    """The text without the line breaks and frames that fit it to a terminal."""
    return " ".join(text.replace("│", " ").split())


def check_refusal(outcome, code: int, parts: tuple[str, ...]) -> None:
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    # What the program logs before it notices starts with a time; the rest is the message.
    said = words("\n".join(line for line in outcome.stderr.splitlines() if "s  " not in line[:10]))
    assert said.lower().count("error") <= 2
    for part in parts:
        assert part in said


BAD_FLAGS = {
    "unknown flag": (
        ["--model.num-layer=3"],
        ("--model.num-layer=3", "Perhaps you meant", "--model.num-layers"),
    ),
    "not a number": (["--num-steps=many"], ("--num-steps", "'many'", "INT")),
    "negative devices": (["--fake-devices=-2"], ("fake-devices=-2", "0 or more")),
    "negative steps": (["--num-steps=-3"], ("num_steps=-3", "above zero", "write --num-steps=1")),
    "kv heads do not divide": (
        ["--model.attention.num-kv-heads=3"],
        ("num_kv_heads=3", "must divide num_heads=4", "write 1 for multi-query or 4"),
    ),
    "odd rotary head": (["--model.attention.head-dim=7"], ("head_dim=7", "must be even")),
    "batch of no whole sequences": (
        ["--batch-tokens=100"],
        ("batch_tokens=100", "a multiple of seq_len=64", "write --batch-tokens=64"),
    ),
    "more pieces than the text has": (
        ["--model.vocab-size=100000"],
        ("model.vocab_size=100000", "more than the training text", "at most 426"),
    ),
    "fewer pieces than characters": (
        ["--model.vocab-size=200"],
        ("model.vocab_size=200", "less than the training text's characters", "at least 294"),
    ),
    "mesh larger than the devices": (
        ["--mesh.fsdp=64"],
        ("--mesh.fsdp=64", "needs 64 devices", "--fake-devices="),
    ),
    "two texts": (
        ["--task=stdlib"],
        ("--data.task=stdlib and --data.files=", "exclude each other", "write one of them"),
    ),
    "option of another text": (
        ["--data.module=m"],
        ("--data.module=m does not apply to data.files=", "--data.task"),
    ),
    "paper beside other parts": (
        ["--data.mixture", "paper", "stdlib=1", "--data.files=None"],
        ("data.mixture has 'paper'", "write SOURCE=RATE"),
    ),
    "unknown task": (["--data.task=stdlibs", "--data.files=None"], ("'stdlibs'", "stdlib")),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_bad_flag_is_refused(name, nano, tmp_path, run_here):
    flags, parts = BAD_FLAGS[name]
    workdir = tmp_path / "run"
    outcome = run_here(train.main, *nano, f"--workdir={workdir}", *flags)
    check_refusal(outcome, 2, parts)
    assert not workdir.exists() or contents(workdir) == {}


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ([], ("--model is missing", "palm_small", "zoo.describe")),
        (
            ["--model=palm_smal"],
            ("model 'palm_smal' is not in the zoo", "did you mean palm_small"),
        ),
    ],
)
def test_model_must_be_one_of_the_zoo(flags, parts, tmp_path, run_here):
    outcome = run_here(train.main, f"--workdir={tmp_path / 'run'}", *flags)
    check_refusal(outcome, 2, parts)
    assert not (tmp_path / "run").exists()


def test_the_papers_mixture_is_that_of_the_model(tmp_path, run_here):
    flags = [f"--data-dir={tmp_path}", f"--workdir={tmp_path / 'run'}", "--data.mixture=paper"]
    outcome = run_here(train.main, "--model=llama_nano", *flags)
    check_refusal(outcome, 3, ("finds none of its stand-ins", "arXiv 2.5% (arxiv)", "--task=arxiv"))
    assert not (tmp_path / "run").exists() or contents(tmp_path / "run") == {}


def test_mesh_must_fit_the_model(nano, tmp_path, run_process):
    process = run_process(
        "-m",
        "zoo.train",
        *nano,
        f"--workdir={tmp_path}",
        "--mesh.tensor=3",
        "--fake-devices=3",
    )
    assert process.returncode == 2
    assert "num_heads=4 does not divide over the mesh: mesh.tensor=3 ways" in process.stderr
    assert "Traceback" not in process.stderr
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("matches no file", "write a path or a glob that does, in quotes")),
        (b"", ("has no text to train on", "add more")),
        (b"caf\xe9 au lait\n", ("is not UTF-8 text", "at byte 3", "convert it to UTF-8")),
        (b"one two three four\nfive six\n" * 40, ("46 tokens", "seq_len + 1 = 65", "add text")),
    ],
    ids=["no file", "empty", "not UTF-8", "shorter than a window"],
)
def test_text_must_be_there_and_readable_and_enough(content, parts, nano, tmp_path, run_here):
    if content is not None:
        (tmp_path / "only.txt").write_bytes(content)
    workdir = tmp_path / "run"
    outcome = run_here(
        train.main,
        *nano,
        f"--data.files={tmp_path}/*.txt",
        f"--workdir={workdir}",
        "--model.vocab-size=280",
    )
    check_refusal(outcome, 3, parts)
    assert contents(workdir) == {}


@pytest.mark.parametrize("below", ["file.txt", "file.txt/run"])
def test_workdir_must_be_writable(below, nano, tmp_path, run_here):
    (tmp_path / "file.txt").write_text("mine")
    outcome = run_here(train.main, *nano, f"--workdir={tmp_path / below}")
    check_refusal(outcome, 2, (f"--workdir={tmp_path / below}", "cannot be written", "another"))
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_checkpoints_must_fit_on_the_disk(nano, tmp_path, monkeypatch, run_here):
    usage = shutil.disk_usage(tmp_path)._replace(free=MiB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    outcome = run_here(train.main, *nano, f"--workdir={tmp_path}", "--model.d-model=256")
    check_refusal(outcome, 2, ("1.0 MB free", "4 checkpoints of 4.1 MB need 16.4", "lower --keep"))
    assert checkpoint.saved_steps(tmp_path) == []


def test_fresh_deletes_nothing_when_the_new_run_does_not_fit_on_the_disk(
    copied, nano, monkeypatch, run_here
):
    before = contents(copied)
    usage = shutil.disk_usage(copied)._replace(free=MiB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    outcome = run_here(train.main, *nano, f"--workdir={copied}", "--fresh", "--model.d-model=256")
    check_refusal(outcome, 2, ("MB free", "4 checkpoints of 4.1 MB need 16.4"))
    assert contents(copied) == before


def test_a_disk_that_fills_up_is_said_plainly_and_keeps_what_was_saved(copied, nano, run_process):
    """No file may grow beyond 100 kB, as an array's file does: writing fails as on a full disk."""
    program = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "runpy.run_module('zoo.train', run_name='__main__', alter_sys=True)"
    )
    saved = contents(copied / "checkpoints")
    process = run_process("-c", program, *nano, f"--workdir={copied}", "--num-steps=9")
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    assert f"--workdir={copied} cannot be written" in process.stderr
    assert checkpoint.saved_steps(copied) == [3, 6]
    assert saved.items() <= contents(copied / "checkpoints").items()


RESUMED_WITH = {
    "another architecture": (
        ["--model.num-layers=3", "--model.feed-forward.d-ff=64"],
        2,
        ("model.num_layers was 2, now 3", "model.feed_forward.d_ff was 128, now 64", "--fresh"),
    ),
    "another optimizer": (
        ["--optimizer.beta1=0.5"],
        2,
        ("optimizer.beta1 was 0.9, now 0.5",),
    ),
    "another order of the text": (["--data.seed=1"], 2, ("data.seed was 0, now 1",)),
}


@pytest.mark.parametrize("name", RESUMED_WITH)
def test_resuming_with_another_config_lists_what_differs(name, copied, nano, run_here):
    flags, code, parts = RESUMED_WITH[name]
    before = contents(copied)
    outcome = run_here(train.main, *nano, f"--workdir={copied}", *flags)
    check_refusal(outcome, code, (f"{copied} holds a run with another config", *parts))
    assert contents(copied) == before


def test_resuming_on_changed_text_is_refused(trained, nano, corpus_glob, tmp_path, run_here):
    folder = shutil.copytree(Path(corpus_glob).parent, tmp_path / "corpus")
    flags = [*nano, f"--data.files={folder}/*.txt", f"--workdir={tmp_path / 'run'}"]
    assert run_here(train.main, *flags, "--num-steps=1").code == 0
    before = contents(tmp_path / "run")
    with (folder / "00.txt").open("a") as file:
        file.write("one more line\n")
    # The files may be named otherwise, as long as the text is the same.
    for files in ([], [f"--data.files={folder}/0*.txt"]):
        outcome = run_here(train.main, *flags, *files)
        check_refusal(outcome, 3, ("the data has changed", "corpus differs", "undo the change"))
        assert contents(tmp_path / "run") == before

    outcome = run_here(train.main, *flags, "--data.allow-change", "--num-steps=2")
    assert outcome.code == 0, outcome.stderr
    assert "resumes with other data, as --data.allow-change says: corpus" in words(outcome.stderr)
    assert "resuming from checkpoints/1" in outcome.stderr


def test_bad_flags_with_fresh_do_not_delete_the_run(copied, nano, run_here):
    before = contents(copied)
    for flags, code in (
        (["--data.files=nowhere/*.txt"], 3),
        (["--mesh.fsdp=64"], 2),
        (["--model.vocab-size=100000"], 2),
    ):
        outcome = run_here(train.main, *nano, f"--workdir={copied}", "--fresh", *flags)
        assert outcome.code == code
        assert contents(copied) == before


BAD_SAMPLING = {
    "no samples": (["--num-samples=0"], 2, ("--num-samples=0", "above zero")),
    "no tokens": (["--max-tokens=0"], 2, ("max_tokens=0", "above zero")),
    "negative temperature": (["--temperature=-1"], 2, ("temperature=-1.0", "not be negative")),
    "top-p above one": (["--top-p=1.5"], 2, ("top_p=1.5", "must lie in (0, 1]")),
    "top-k of none": (["--top-k=0"], 2, ("top_k=0", "above zero")),
    "too long a prompt": (
        ["--prompt=" + "zq" * 100],
        2,
        ("has 201 tokens", "context_length is 64", "shorten the prompt"),
    ),
    "no such prompt file": (["--prompt-file=nowhere.txt"], 2, ("--prompt-file=nowhere.txt",)),
}


@pytest.mark.parametrize("name", BAD_SAMPLING)
def test_bad_sampling_flag_is_refused(name, trained, run_here):
    flags, code, parts = BAD_SAMPLING[name]
    prompt = [] if "prompt" in flags[0] else ["--prompt=x"]
    outcome = run_here(sample.main, f"--checkpoint={trained.workdir}", *prompt, *flags)
    check_refusal(outcome, code, parts)


def test_prompt_file_must_be_utf8(trained, tmp_path, run_here):
    (tmp_path / "prompt.txt").write_bytes(b"caf\xe9")
    outcome = run_here(
        sample.main,
        f"--checkpoint={trained.workdir}",
        f"--prompt-file={tmp_path / 'prompt.txt'}",
    )
    check_refusal(outcome, 2, ("prompt.txt", "UTF-8"))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("nowhere", ("there is no such folder", "--workdir of a run")),
        (".", ("holds no finished checkpoint", "python -m zoo.train")),
    ],
)
def test_checkpoint_must_be_there(path, parts, tmp_path, run_here):
    outcome = run_here(sample.main, f"--checkpoint={tmp_path / path}", "--prompt=x")
    check_refusal(outcome, 3, (str(tmp_path / path), *parts))


def test_help_says_whose_defaults_it_shows(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for flags, text in (
        (["--help"], "No --model is given: the defaults below are those of --model=palm_small."),
        (["-h", "--model", "palm_nano"], "--model=palm_nano sets the defaults below."),
    ):
        with pytest.raises(SystemExit) as ended:
            train.main(flags)
        assert ended.value.code == 0
        assert text in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--init-from={}", "--init_from={}"])
def test_a_checkpoints_text_is_the_default(flag, copied, tmp_path, run_here):
    """Without --model the checkpoint gives the config, its source of text included."""
    flags = [flag.format(copied), f"--workdir={tmp_path / 'run'}", "--num-steps=1"]
    outcome = run_here(train.main, *flags)
    assert outcome.code == 0, outcome.stderr
    assert "text: data.files=" in outcome.stderr


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "convert"])
def test_help_answers_without_jax(command, run_process):
    program = (
        f"import sys, zoo.{command}\n"
        f"try: zoo.{command}.main(['--help'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'jax', 'flax', 'numpy', 'tensorflow', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    process = run_process("-c", program)
    assert process.returncode == 0, process.stderr
    assert "--help" in process.stdout


def test_a_bug_keeps_its_traceback_and_exits_1(run_process):
    """`run` hides the traceback of a person's mistakes only."""
    program = "from zoo.command_line import cli\ncli.run(lambda argv: 1 / 0)"
    process = run_process("-c", program)
    assert process.returncode == 1
    assert "ZeroDivisionError" in process.stderr


@pytest.mark.parametrize("arguments", ["zoo", "zoo.describe", "zoo.train --help"])
def test_a_reader_that_has_enough_is_no_error(arguments):
    """As in `python -m zoo.describe | head -1`."""
    command = [sys.executable, "-m", *arguments.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == READER_LEFT
