"""Malformed command lines, configs, data files, Hugging Face folders and checkpoints.

Each ends with one message and a documented exit code: no traceback, no hang, no partial file. The
cases are seeded: a failure shows what it was given, and the same case fails again.
"""

import contextlib
import functools
import gzip
import io
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import data.inspect
import data.vocabulary
from tests.zoo.malformed.cases import cases, seeds
from tests.zoo.malformed.mutations import mutate_file, mutated_bytes, mutated_flags
from zoo import compare, convert, describe, diff, evaluate, plan, sample, train
from zoo.checkpoints import manifest
from zoo.reporting.server import PageServer

Main = Callable[[list[str]], None]

NANO = ["--model=gpt2_nano", "--model.vocab-size=400", "--num-steps=2"]
# fmt: off
COMMANDS: dict[str, tuple[Main, list[str]]] = {
    "train":      (train.main, [*NANO, "--data.files=CORPUS"]),
    "sample":     (sample.main, ["--checkpoint=SAVED", "--prompt=a", "--max-tokens=2"]),
    "sample ids": (sample.main, ["--checkpoint=SAVED", "--ids", "5", "6", "--max-tokens=2"]),
    "evaluate":   (evaluate.main, ["--checkpoint=SAVED", "--data.files=here.txt"]),
    "to hf":      (convert.main, ["--to-hf=out", "--checkpoint=SAVED"]),
    "from hf":    (convert.main, ["--from-hf=HF", "--out=out"]),
    "describe":   (describe.main, ["--model=palm_8b"]),
    "diff":       (diff.main, ["gpt2_124m", "llama_7b"]),
    "plan":       (plan.main, ["--model=gpt2_nano", "--topology=h100:8", "--effort=estimate"]),
    "inspect":    (data.inspect.main, ["--data.files=CORPUS", "--vocab-size=400"]),
    "vocabulary": (data.vocabulary.main, ["--data.files=CORPUS", "--size=400", "--out=out"]),
}
# fmt: on
NOT_TRIED = ("--distributed", "--fake-devices", "--help")
"""Flags that wait for other computers, need a fresh process, or only show the help."""


COMMAND_LINES = [
    (command, seed)
    for command, (main, _) in COMMANDS.items()
    for seed in seeds(0.4 / len(COMMANDS), command)
]


@pytest.fixture(scope="module")
def flag_names() -> Callable[[str], list[str]]:
    """Returns the names of all flags of a command, as its help shows them."""

    @functools.cache
    def names(command: str) -> list[str]:
        main, flags = COMMANDS[command]
        given = [flag for flag in flags if flag.startswith("--model=")]
        shown = io.StringIO()
        with pytest.raises(SystemExit), contextlib.redirect_stdout(shown):
            main([*given, "--help"])
        found = sorted(set(re.findall(r"--[a-z][a-z0-9.-]*[a-z0-9]", shown.getvalue())))
        return [name for name in found if not name.startswith(NOT_TRIED)]

    return names


@pytest.fixture
def given(saved, hf_folder, corpus_glob) -> Callable[[str], list[str]]:
    """Returns the unbroken flags of a command, with their paths."""
    paths = {"SAVED": str(saved), "HF": str(hf_folder["gpt2"]), "CORPUS": corpus_glob}

    def flags(command: str) -> list[str]:
        written = COMMANDS[command][1]
        return [re.sub("SAVED|HF|CORPUS", lambda name: paths[name[0]], flag) for flag in written]

    return flags


@pytest.mark.parametrize("command", COMMANDS)
def test_the_unbroken_command_lines_are_accepted(command, attempt, given):
    assert attempt(COMMANDS[command][0], *given(command)) == 0


@pytest.mark.parametrize(("command", "seed"), COMMAND_LINES)
def test_command_lines(command, seed, attempt, given, flag_names):
    rng = random.Random(seed)
    attempt(COMMANDS[command][0], *mutated_flags(rng, given(command), flag_names(command)))


@cases(0.25, "hf")
def test_hugging_face_folders(seed, attempt, hf_folder, tmp_path):
    rng = random.Random(seed)
    folder = shutil.copytree(hf_folder[rng.choice(sorted(hf_folder))], tmp_path / "hf")
    mutate_file(rng, rng.choice(sorted(path for path in folder.iterdir())))
    given = {path: path.lstat().st_mtime_ns for path in folder.iterdir()}
    code = attempt(convert.main, f"--from-hf={folder}", "--out=out")
    assert Path("out").exists() == (code == 0)
    assert {path: path.lstat().st_mtime_ns for path in folder.iterdir()} == given


CHECKPOINT_USES: list[tuple[Main, list[str]]] = [
    (sample.main, ["--checkpoint=FOLDER", "--ids", "5", "--max-tokens=1"]),
    (evaluate.main, ["--checkpoint=FOLDER", "--data.files=here.txt", "--max-tokens=50"]),
    (convert.main, ["--to-hf=out", "--checkpoint=FOLDER"]),
    (train.main, ["--init-from=FOLDER", "--data.files=CORPUS"]),
]


@cases(0.15, "checkpoint")
def test_checkpoints(seed, attempt, saved, tmp_path, corpus_glob):
    rng = random.Random(seed)
    folder = shutil.copytree(saved, tmp_path / "run")
    step = folder / "checkpoints/0"
    # The record of the run has the most that can be wrong.
    names = ["run/metadata", "run/metadata", "tokenizer/tokenizer.model"]
    damaged = step / rng.choice(names)
    mutate_file(rng, damaged)
    if damaged.is_file() and rng.random() < 0.5:  # the checksums are right, the content is not
        (step / manifest.FILE).unlink()
        manifest.write(step)
    main, flags = rng.choice(CHECKPOINT_USES)
    paths = {"FOLDER": str(folder), "CORPUS": corpus_glob}
    attempt(main, *(re.sub("FOLDER|CORPUS", lambda name: paths[name[0]], f) for f in flags))


DATA_FILES = {
    "a.txt": "a model reads tokens and learns é\n".encode() * 30,
    "b.jsonl": b'{"text": "a model reads tokens"}\n' * 30,
    "c.txt.gz": gzip.compress(b"a model reads tokens and learns\n" * 30, mtime=0),
    "d.jsonl.gz": gzip.compress(b'{"text": "a model reads tokens"}\n' * 30, mtime=0),
    "e.txt.zst": b"(\xb5/\xfd\x04\x00a model",
}


@cases(0.2, "data")
def test_data_files(seed, attempt, tmp_path):
    rng, folder = random.Random(seed), tmp_path / "data"
    folder.mkdir()
    name = rng.choice(sorted(DATA_FILES))
    (folder / name).write_bytes(mutated_bytes(rng, DATA_FILES[name]))
    if rng.random() < 0.3:
        mutate_file(rng, folder / name)
    if rng.random() < 0.3:
        (folder / "good.txt").write_bytes(DATA_FILES["a.txt"])
    files = rng.choice([f"{folder}/*", f"{folder}/{name}", f"{folder}", f"{folder}/**/*"])
    main, flags = rng.choice(
        [
            (data.inspect.main, [f"--data.files={files}", "--vocab-size=300"]),
            (train.main, [*NANO, f"--data.files={files}"]),
            (data.vocabulary.main, [f"--data.files={files}", "--size=300", "--out=out"]),
        ]
    )
    attempt(main, *flags)


def watch_once(argv: list[str]) -> None:
    """Make the page that `zoo.watch` serves."""
    PageServer(Path(argv[0]), port=0, refresh_s=1).server_close()


@cases(0.2, "workdir")
def test_workdirs(seed, attempt, trained, tmp_path):
    rng = random.Random(seed)
    folder = shutil.copytree(
        trained.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")
    )
    # The record of the run has the most that can be wrong.
    names = [
        "run.json",
        "run.json",
        "config.json",
        "events.jsonl",
        "metrics.jsonl",
        "samples/000003.txt",
    ]
    name = rng.choice(names)
    event = {"step": 3, "kind": "spike", "message": "m", "numbers": {"train/loss": 3.0}}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    mutate_file(rng, folder / name)
    main = rng.choice([watch_once, compare.main])
    attempt(main, str(folder))
