"""`python -m zoo.evaluate` on a trained palm_nano, and on a model with learned positions."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest

from data import catalog
from data.config import Data, Files
from data.storage import cache_folder
from data.text.files import Document
from data.text.survey import Split
from tests.zoo.test_cli import check_refusal
from zoo import evaluate, sample, train
from zoo.checkpoints import manifest
from zoo.planning import placement

RESULT = {
    "checkpoint",
    "text",
    "seq_len",
    "stride",
    "packing",
    "num_tokens",
    "num_bytes",
    "eval/loss",
    "eval/perplexity",
    "eval/byte_perplexity",
    "eval/bits_per_byte",
    "baselines",
    "weights",
    "run_weights",
}


PROMPT = {evaluate.main: [], sample.main: ["--prompt=a"]}


def result(outcome) -> dict:
    """The one object that --json printed, after a check that the command succeeded."""
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


@pytest.fixture
def evaluated(trained, run_here):
    """Evaluates the session's run with more flags."""
    return lambda *flags: result(
        run_here(evaluate.main, f"--checkpoint={trained.workdir}", "--json", *flags)
    )


@pytest.fixture
def held_out_folder(corpus_glob, tmp_path) -> Path:
    """The documents that the session's run held out, as files."""
    folder = tmp_path / "held out"
    folder.mkdir()
    for document in documents(corpus_glob, "validation"):
        (folder / document.name).write_text(document.text)
    return folder


def documents(corpus_glob: str, split: Split) -> list[Document]:
    """The checkpoint of the session's run."""
    ((corpus, _),) = catalog.find(Data(source=Files(corpus_glob)), cache_folder(None))
    return list(corpus.documents(split))


def check_same_losses(found: dict, expected: dict, rel: float = 1e-6) -> None:
    for key in ("eval/loss", "eval/bits_per_byte"):
        assert found[key] == pytest.approx(expected[key], rel=rel)


# --- the run's own text ------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3, 6])
def test_the_runs_own_evaluation_is_reproduced(step, trained, run_here):
    checkpoint = trained.workdir / "checkpoints" / str(step)
    found = result(run_here(evaluate.main, f"--checkpoint={checkpoint}", "--json"))
    row = next(row for row in trained.metrics() if row["step"] == step)
    check_same_losses(found, row)
    assert set(found) == RESULT
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in RESULT)
    assert found["checkpoint"] == str(checkpoint)
    assert found["eval/perplexity"] == pytest.approx(math.exp(row["eval/loss"]))
    assert found["eval/byte_perplexity"] == pytest.approx(2 ** row["eval/bits_per_byte"])
    assert found["baselines"] == json.loads(trained.process.stdout)["baselines"]


def test_a_workdir_means_its_newest_step(evaluated, trained):
    check_same_losses(evaluated(), trained.metrics()[-1])


def test_tokens_and_bytes_are_those_of_the_held_out_documents(evaluated, corpus_glob, trained):
    held_out = documents(corpus_glob, "validation")
    found = evaluated()
    assert found["num_bytes"] == sum(len(document.text.encode()) for document in held_out)
    nats = found["eval/loss"] * found["num_tokens"]
    assert nats / math.log(2) / found["num_bytes"] == pytest.approx(found["eval/bits_per_byte"])


def test_other_batches_give_the_same_loss(evaluated, trained):
    check_same_losses(evaluated("--batch-tokens=192"), trained.metrics()[-1])


@pytest.mark.parametrize("mesh", [["--mesh.fsdp=2", "--mesh.tensor=2"], ["--mesh=auto"]])
def test_eight_devices_give_the_same_loss(mesh: list[str], trained, run_process):
    process = run_process(
        "-m",
        "zoo.evaluate",
        f"--checkpoint={trained.workdir}",
        "--fake-devices=8",
        *mesh,
        "--json",
    )
    assert process.returncode == 0, process.stderr
    assert "devices: 8 x cpu" in process.stderr
    assert ("mesh: --mesh.data=" in process.stderr) == (mesh == ["--mesh=auto"])
    check_same_losses(json.loads(process.stdout), trained.metrics()[-1])


def test_weights_larger_than_the_devices_are_refused(trained, run_here, monkeypatch):
    monkeypatch.setattr(placement, "bytes_per_device", lambda: 2**10)
    for main in (evaluate.main, sample.main):
        outcome = run_here(main, f"--checkpoint={trained.workdir}", *PROMPT[main])
        assert outcome.code == 5
        assert "the model does not fit on one device: weights" in outcome.stderr


def test_int8_weights_are_measured_beside_those_of_the_run(evaluated, trained, run_here):
    found = evaluated("--weights=int8")
    assert found["weights"] == "int8"
    check_same_losses(found["run_weights"], trained.metrics()[-1])
    assert found["eval/loss"] != found["run_weights"]["eval/loss"]
    assert found["eval/loss"] == pytest.approx(found["run_weights"]["eval/loss"], rel=0.01)
    flags = [f"--checkpoint={trained.workdir}", "--weights=int8"]
    one_text, sampled = (
        run_here(main, *flags, *more)
        for main, more in ((evaluate.main, []), (sample.main, ["--prompt=a", "--max-tokens=17"]))
    )
    bits, of_run = (each["eval/bits_per_byte"] for each in (found, found["run_weights"]))
    assert f"{bits:.4f} with int8 weights, {of_run:.4f} with the run's (" in one_text.stdout
    assert sampled.code == 0, sampled.stderr


def test_a_person_reads_a_short_table(trained, run_here):
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}")
    assert outcome.code == 0, outcome.stderr
    loss = trained.metrics()[-1]["eval/loss"]
    for part in (
        "the held-out part of data.files=",
        "in rows of 64",
        f"{loss:.4f} nats per token",
        f"perplexity     {math.exp(loss):.4g} per token, ",
        "bits per byte",
        "xz -9",
        "byte 5-gram",
    ):
        assert part in outcome.stdout
    assert "WARNING" not in outcome.stderr


def change_record(folder: Path, old: str, new: str) -> None:
    """Replace a path in the record of the run, and renew the manifest."""
    run = folder / "run" / "metadata"
    run.write_text(run.read_text().replace(old, new))
    (folder / manifest.FILE).unlink()
    manifest.write(folder)


def test_text_that_has_changed_is_evaluated_with_a_warning(copied, run_here, trained, tmp_path):
    (folder,) = (Path(flag.split("=")[1]).parent for flag in trained.flags if ".files=" in flag)
    moved = shutil.copytree(folder, tmp_path / "moved")
    change_record(copied / "checkpoints" / "6", str(folder), str(moved))
    same = run_here(evaluate.main, f"--checkpoint={copied}", "--json")
    check_same_losses(result(same), trained.metrics()[-1])
    assert "WARNING" not in same.stderr
    with (moved / "00.txt").open("a") as file:
        file.write("one line more\n")
    changed = run_here(evaluate.main, f"--checkpoint={copied}", "--json")
    check_same_losses(result(changed), trained.metrics()[-1], rel=0.5)
    assert "not the text that the checkpoint's run read" in changed.stderr


# --- other text --------------------------------------------------------------------------------


def test_files_are_evaluated_whole(evaluated, held_out_folder, trained):
    """The held-out documents as files: the same tokens, so the same numbers."""
    found = evaluated(f"--data.files={held_out_folder}/*.txt")
    check_same_losses(found, trained.metrics()[-1])
    assert found["text"] == f"all of data.files='{held_out_folder}/*.txt'"
    own = evaluated()
    for key in ("num_tokens", "num_bytes", "baselines"):
        assert found[key] == own[key]


def test_files_that_the_model_was_trained_on_are_pointed_out(trained, corpus_glob, run_here):
    outcome = run_here(
        evaluate.main, f"--checkpoint={trained.workdir}", f"--data.files={corpus_glob}", "--json"
    )
    num_train = len(documents(corpus_glob, "train"))
    assert result(outcome)["num_bytes"] > 0
    assert f"trained on {num_train} of these 30 documents" in outcome.stderr


def test_without_the_runs_text_there_is_no_ngram(copied, held_out_folder, trained, run_here):
    change_record(copied / "checkpoints" / "6", "/corpus/", "/gone/")
    files = f"--data.files={held_out_folder}/*.txt"
    outcome = run_here(evaluate.main, f"--checkpoint={copied}", files, "--json")
    found = result(outcome)
    check_same_losses(found, trained.metrics()[-1])
    assert set(found["baselines"]) == {"xz -9"}
    assert "no byte 5-gram" in outcome.stderr


def test_another_task_is_evaluated_on_its_held_out_part(trained, run_here):
    flags = ["--data.task=stdlib", "--max-tokens=512", "--json"]
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", *flags)
    text = result(outcome)["text"]
    assert text == "the first 512 tokens of the held-out part of data.task='stdlib'"
    assert "WARNING" not in outcome.stderr  # it was asked for


def test_max_tokens_cuts_tokens_and_bytes(evaluated, held_out_folder):
    """A cut after the first document is that document alone, but for its mark of the end."""
    first = min(held_out_folder.iterdir())
    alone = evaluated(f"--data.files={first}")
    cut = evaluated(f"--data.files={held_out_folder}/*.txt", f"--max-tokens={alone['num_tokens']}")
    for key in ("num_tokens", "num_bytes"):
        assert cut[key] == alone[key]
    check_same_losses(cut, alone)
    more = evaluated(f"--data.files={first}", "--max-tokens=1000000")
    assert more == alone


def test_evaluating_files_needs_no_tensorflow(trained, held_out_folder, run_process):
    program = (
        "import sys\n"
        "from zoo import evaluate\n"
        "evaluate.main(sys.argv[1:])\n"
        "assert not {'tensorflow', 'seqio', 'tensorflow_datasets'} & set(sys.modules)"
    )
    process = run_process(
        "-c", program, f"--checkpoint={trained.workdir}", f"--data.files={held_out_folder}/*.txt"
    )
    assert process.returncode == 0, process.stderr


# --- several texts -----------------------------------------------------------------------------


def test_several_texts_are_a_list_and_each_is_as_it_is_alone(evaluated, held_out_folder):
    files = f"--data.files={held_out_folder}/*.txt"
    both = evaluated("--task", "stdlib", files, "--max-tokens=512")
    assert both == [
        evaluated("--task=stdlib", "--max-tokens=512"),
        evaluated(files, "--max-tokens=512"),
    ]
    again = evaluated("--task=stdlib", "--task", "stdlib", "--max-tokens=512")
    assert again == both[0]


def test_several_texts_are_a_line_each(trained, held_out_folder, run_here):
    flags = ["--task", "stdlib", f"--data.files={held_out_folder}/*.txt", "--max-tokens=512"]
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", *flags)
    assert outcome.code == 0, outcome.stderr
    header, one, two, shared = outcome.stdout.splitlines()
    for column in ("tokens", "ppl/token", "ppl/byte", "bits/byte", "byte 5-gram"):
        assert column in header
    assert "data.task='stdlib'" in one
    assert str(held_out_folder) in two
    assert len({len(line) for line in (header, one, two)}) == 1
    assert "rows of 64" in shared


# --- windows that slide ------------------------------------------------------------------------


def test_a_stride_counts_the_same_tokens_from_more_context(evaluated):
    apart, near = evaluated(), evaluated("--stride=8")
    assert (apart["stride"], near["stride"]) == (64, 8)
    for key in ("num_tokens", "num_bytes", "text", "baselines"):
        assert apart[key] == near[key]
    assert near["eval/loss"] != apart["eval/loss"]
    check_same_losses(near, apart, rel=0.05)
    assert evaluated("--stride=64") == apart


def test_a_stride_gives_the_same_on_any_mesh_and_batch(evaluated, trained, run_process):
    expected = evaluated("--stride=24", "--batch-tokens=64")
    for batch_tokens in (320, 1024):
        check_same_losses(evaluated("--stride=24", f"--batch-tokens={batch_tokens}"), expected)
    process = run_process(
        "-m",
        "zoo.evaluate",
        f"--checkpoint={trained.workdir}",
        "--stride=24",
        "--fake-devices=8",
        "--mesh.fsdp=2",
        "--mesh.sequence=2",
        "--json",
    )
    assert process.returncode == 0, process.stderr
    check_same_losses(json.loads(process.stdout), expected)


def test_the_table_names_the_stride(trained, run_here):
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", "--stride=48")
    assert "in rows of 64 that move by 48" in outcome.stdout


# --- steps -------------------------------------------------------------------------------------


def test_the_best_step_is_evaluated(evaluated, trained):
    rows = [row for row in trained.metrics() if "eval/loss" in row]
    best = min(rows, key=lambda row: row["eval/loss"])
    found = evaluated("--step=best")
    assert found["checkpoint"].endswith(f"/{best['step']:.0f}")
    check_same_losses(found, best)
    check_same_losses(evaluated("--step=3"), rows[0])


# --- other lengths -----------------------------------------------------------------------------


def test_rotary_positions_go_beyond_the_trained_length(trained, run_here):
    checkpoint = f"--checkpoint={trained.workdir}"
    outcome = run_here(evaluate.main, checkpoint, "--seq-len=160", "--json")
    found = result(outcome)
    assert found["seq_len"] == 160
    check_same_losses(found, trained.metrics()[-1], rel=0.1)
    assert found["eval/loss"] != trained.metrics()[-1]["eval/loss"]
    assert "rows of 160 tokens, and the model was trained on 64" in outcome.stderr
    assert "WARNING" not in outcome.stderr


def test_learned_positions_end(nano, tmp_path, run_here):
    """A model of 64 positions, of which the run trained 32."""
    flags = [flag for flag in nano if not flag.startswith("--model=")]
    shape = [
        "--model=gpt2_124m",
        "--model.context-length=64",
        "--model.num-layers=1",
        "--model.d-model=16",
        "--model.attention.num-heads=2",
        "--model.attention.num-kv-heads=2",
        "--model.attention.head-dim=8",
        "--model.feed-forward.d-ff=32",
        "--seq-len=32",
        "--batch-tokens=256",
    ]
    workdir = tmp_path / "learned"
    outcome = run_here(train.main, *flags, *shape, f"--workdir={workdir}", "--num-steps=1")
    assert outcome.code == 0, outcome.stderr

    checkpoint = f"--checkpoint={workdir}"
    all_positions = run_here(evaluate.main, checkpoint, "--seq-len=64", "--json")
    assert result(all_positions)["seq_len"] == 64
    assert "learned positions from there on were never trained" in all_positions.stderr
    beyond = run_here(evaluate.main, checkpoint, "--seq-len=65")
    parts = ("--seq-len=65", "learned positions", "context_length of 64", "--seq-len=64 or less")
    check_refusal(beyond, 2, parts)


# --- bad input ---------------------------------------------------------------------------------

BAD = {
    "stride beyond a row": (["--stride=65"], 2, ("--stride=65", "from 1 to the 64 tokens")),
    "no stride": (["--stride=0"], 2, ("--stride=0", "from 1 to the 64 tokens")),
    "no such step": (["--step=5"], 3, ("--step=5", "steps 3, 6")),
    "second of two texts": (
        ["--task", "stdlib", "--data.files=nowhere/*"],
        3,
        ("'nowhere/*'", "matches no file"),
    ),
    "option of no text": (["--data.field=x"], 2, ("data.field", "--data.files")),
    "option of another text": (
        ["--data.task=stdlib", "--data.field=x"],
        2,
        ("--data.field=x does not apply to data.task='stdlib'",),
    ),
    "no such files": (["--data.files=nowhere/*"], 3, ("'nowhere/*'", "matches no file")),
    "unknown task": (["--data.task=stdlibs"], 2, ("'stdlibs'", "stdlib")),
    "no length": (["--seq-len=0"], 2, ("--seq-len=0", "above zero")),
    "no tokens": (["--max-tokens=0"], 2, ("--max-tokens=0", "above zero")),
    "no whole row": (["--batch-tokens=100"], 2, ("batch_tokens=100", "--batch-tokens=64")),
    "mesh larger than the devices": (["--mesh.fsdp=64"], 2, ("needs 64 devices",)),
    "unknown flag": (["--max-token=1"], 2, ("--max-token", "--max-tokens")),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_flag_is_refused(name, trained, run_here):
    flags, code, parts = BAD[name]
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", *flags)
    check_refusal(outcome, code, parts)


def test_files_without_text_are_refused(trained, tmp_path, run_here):
    (tmp_path / "empty.txt").touch()
    files = f"--data.files={tmp_path}/*.txt"
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", files)
    check_refusal(outcome, 3, ("has no text", "every file that it matches is empty"))


def test_checkpoint_must_be_there_and_whole(copied, tmp_path, run_here):
    missing = run_here(evaluate.main, f"--checkpoint={tmp_path / 'nowhere'}")
    check_refusal(missing, 3, ("there is no such folder",))
    (copied / "checkpoints" / "6" / "params" / "_METADATA").write_text("")
    check_refusal(run_here(evaluate.main, f"--checkpoint={copied}"), 3, ("params/_METADATA",))


# --- a stranger's checkpoint -------------------------------------------------------------------


def test_no_module_that_a_checkpoint_names_is_imported(trained, copied, run_here, tmp_path):
    """Neither when it is evaluated nor when a run starts from it."""
    marker = tmp_path / "imported"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    record = copied / "checkpoints" / "6" / "run" / "metadata"
    content = json.loads(record.read_text())
    source = {"type": "Task", "name": "stdlib", "module": "evil", "data_dir": None}
    content["experiment"]["data"]["source"] = source
    content["experiment"]["data"]["cache_dir"] = str(tmp_path / "foreign")
    record.write_text(json.dumps(content))
    (record.parents[1] / manifest.FILE).unlink()
    manifest.write(record.parents[1])
    sys.path.insert(0, str(tmp_path))
    try:
        outcome = run_here(evaluate.main, f"--checkpoint={copied}", "--max-tokens=200")
        assert outcome.code == 0, outcome.stderr
        outcome = run_here(
            train.main, f"--init-from={copied}", "--num-steps=1", f"--workdir={tmp_path / 'new'}"
        )
        assert outcome.code == 0, outcome.stderr
    finally:
        sys.path.remove(str(tmp_path))
    assert not marker.exists()
    assert not (tmp_path / "foreign").exists()
