"""Every damage to a checkpoint is found and named, and a run resumes from the intact one before."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from zoo import evaluate, sample, train
from zoo.checkpoints import checkpoint, manifest, recovery
from zoo.common.errors import CheckpointError

# After a failed read TensorStore's threads report to Orbax's event loop, which is gone by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Damage = Callable[[Path], str]
"""Damages the checkpoint in a folder; returns what the message must say."""


def payload(item: str) -> Callable[[Path], Path]:
    """The largest file of an item, which holds its arrays."""
    return lambda folder: max(
        (path for path in (folder / item).rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


def one(pattern: str) -> Callable[[Path], Path]:
    return lambda folder: next(folder.glob(pattern))


def flip(find: Callable[[Path], Path], where: float = 0.5) -> Damage:
    """Flip one bit."""

    def damage(folder: Path) -> str:
        path = find(folder)
        content = bytearray(path.read_bytes())
        content[int(where * (len(content) - 1))] ^= 1
        path.write_bytes(content)
        return str(path.relative_to(folder))

    return damage


def resize(find: Callable[[Path], Path], change: Callable[[int], int]) -> Damage:
    def damage(folder: Path) -> str:
        path = find(folder)
        size = path.stat().st_size
        os.truncate(path, change(size))
        return f"{path.relative_to(folder)}: {size:,} bytes expected, {change(size):,} found"

    return damage


def remove(find: Callable[[Path], Path]) -> Damage:
    def damage(folder: Path) -> str:
        path = find(folder)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return f"{path.relative_to(folder)}"

    return damage


def overwrite(name: str, content: bytes) -> Damage:
    def damage(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return damage


def hole(folder: Path) -> str:
    """A block of zeros, as a file system that lost power may leave it."""
    path = payload("training")(folder)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))
    return str(path.relative_to(folder))


def linked_file(folder: Path) -> str:
    """The same content, but outside of the checkpoint."""
    path = payload("params")(folder)
    path.symlink_to(shutil.move(path, folder.parents[1] / "outside"))
    return f"{path.relative_to(folder)}: a regular file expected, a symbolic link found"


def linked_folder(folder: Path) -> str:
    outside = shutil.move(folder / "params", folder.parents[1] / "outside")
    (folder / "params").symlink_to(outside)
    return "params: a regular file expected, a symbolic link found"


def pipe(folder: Path) -> str:
    """Reading it would wait for ever."""
    path = folder / "tokenizer" / "tokenizer.model"
    path.unlink()
    os.mkfifo(path)
    return "tokenizer/tokenizer.model: a regular file expected, a device, pipe or socket found"


def folder_for_file(folder: Path) -> str:
    path = folder / "tokenizer" / "tokenizer.model"
    path.unlink()
    path.mkdir()
    return "tokenizer/tokenizer.model"


def file_for_folder(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.write_text("")
    return "run/metadata: a readable file expected, 'Not a directory' found"


def empty_folder(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.mkdir()
    return "run/metadata: a file expected, no such file found"


def swapped(folder: Path) -> str:
    """Two files that exchanged their names."""
    one, two = folder / "params" / "_METADATA", folder / "params" / "_sharding"
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    return "params/_METADATA"


def params_of_another_step(folder: Path) -> str:
    shutil.rmtree(folder / "params")
    shutil.copytree(folder.parent / "3" / "params", folder / "params")
    return "params/d/"


def manifest_of_another_step(folder: Path) -> str:
    shutil.copy(folder.parent / "3" / manifest.FILE, folder)
    return "no such file expected"


def manifest_that_leads_out(folder: Path) -> str:
    """A manifest whose own checksum is right. The file it names exists."""
    (folder.parent / "secret").write_text("secret")
    path = folder / manifest.FILE
    files = json.loads(path.read_text())["files"]
    files["../secret"] = {"bytes": 6, "sha256": "0" * 64}
    path.write_text(json.dumps({"files": files, "sha256": manifest._sha256_of_json(files)}))
    return "../secret: 6 bytes expected, no such file found"


def manifest_of_numbers(folder: Path) -> str:
    path = folder / manifest.FILE
    files = {name: 7 for name in json.loads(path.read_text())["files"]}
    path.write_text(json.dumps({"files": files, "sha256": manifest._sha256_of_json(files)}))
    return "manifest.json: a manifest expected, a damaged one found"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


DAMAGES: dict[str, Damage] = {
    "parameters cut short": resize(payload("params"), lambda size: size // 3),
    "parameters empty": resize(payload("params"), lambda size: 0),
    "parameters with a byte too many": resize(payload("params"), lambda size: size + 1),
    "bit in the parameters": flip(payload("params")),
    "bit at the end of the parameters": flip(payload("params"), where=1.0),
    "parameters missing": remove(payload("params")),
    "params missing": remove(one("params")),
    "params of another step": params_of_another_step,
    "bit in the optimizer's state": flip(payload("training")),
    "block of zeros in the optimizer's state": hole,
    "training missing": remove(one("training")),
    "bit in the index of the arrays": flip(one("params/manifest.ocdbt")),
    "index of the arrays missing": remove(one("training/manifest.ocdbt")),
    "bit in the names of the arrays": flip(one("params/_METADATA")),
    "bit in the layout": flip(one("training/_sharding")),
    "two files swapped": swapped,
    "bit in the record of the run": flip(one("run/metadata"), where=0.9),
    "record of the run cut short": resize(one("run/metadata"), lambda size: size // 2),
    "run missing": remove(one("run")),
    "bit in the tokenizer": flip(one("tokenizer/tokenizer.model")),
    "tokenizer missing": remove(one("tokenizer")),
    "list in the step's metadata": overwrite("_CHECKPOINT_METADATA", b"[1, 2]"),
    "step's metadata missing": remove(one("_CHECKPOINT_METADATA")),
    "mark of completion missing": remove(one("commit_success.txt")),
    "foreign file": overwrite("notes.txt", b"mine"),
    "foreign file among the arrays": overwrite("params/d/0123", b"0"),
    "link to a file": linked_file,
    "link to a folder": linked_folder,
    "pipe": pipe,
    "folder in place of a file": folder_for_file,
    "file in place of the checkpoint": file_for_folder,
    "nothing in the checkpoint": empty_folder,
    "manifest missing": remove(one(manifest.FILE)),
    "manifest empty": overwrite(manifest.FILE, b""),
    "list in the manifest": overwrite(manifest.FILE, b"[]"),
    "deep list in the manifest": overwrite(manifest.FILE, b"[" * 100_000),
    "object in the manifest": overwrite(manifest.FILE, b"{}"),
    "bytes in the manifest": overwrite(manifest.FILE, b"\xff\xfe"),
    "bit in the manifest": flip(one(manifest.FILE), where=0.7),
    "manifest of numbers": manifest_of_numbers,
    "manifest of another step": manifest_of_another_step,
    "manifest that leads out": manifest_that_leads_out,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(name: str, copied: Path, run_here):
    named = DAMAGES[name](copied / "checkpoints" / "6")
    outcome = run_here(sample.main, f"--checkpoint={copied}", "--prompt=x")
    assert outcome.code == 3, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    for part in (f"{copied}/checkpoints/6 is damaged: ", named, f"{copied}/checkpoints/3"):
        assert part in outcome.stderr.replace("\n", "")

    found = recovery.survey(copied)
    assert found.newest == "3"
    assert named in found.damaged["6"]
    recovery.clear_away(copied, found)
    assert checkpoint.saved_steps(copied) == [3]
    assert (copied / "checkpoints" / "6.damaged").exists()


@pytest.mark.parametrize("name", [".DS_Store", "params/._d", "params/.nfs0001"])
def test_files_that_systems_add_do_no_harm(name: str, copied: Path):
    (copied / "checkpoints" / "6" / name).write_text("")
    assert recovery.survey(copied) == recovery.Survey("6", {}, {})


@pytest.mark.parametrize(
    "name", ["bit in the optimizer's state", "list in the step's metadata", "run missing"]
)
def test_a_run_resumes_from_the_intact_checkpoint_before_the_damaged_one(
    name: str, copied: Path, nano, run_here, losses, trained
):
    named = DAMAGES[name](copied / "checkpoints" / "6")
    outcome = run_here(train.main, *nano, f"--workdir={copied}")
    assert outcome.code == 0, outcome.stderr
    said = " ".join(outcome.stderr.split())
    for part in ("WARNING the checkpoint of step 6 is damaged: ", "the run resumes from step 3"):
        assert part in said
    assert named in outcome.stderr.replace("\n", "").replace(" ", "") or named in said
    assert "resuming from checkpoints/3" in said
    assert losses(copied) == losses(trained.workdir)
    assert checkpoint.saved_steps(copied) == [3, 6]
    assert recovery.survey(copied).damaged == {}
    assert (copied / "checkpoints" / "6.damaged").is_dir()


def test_without_an_intact_checkpoint_nothing_is_done(copied: Path, nano, run_here):
    for step in ("3", "6"):
        flip(payload("params"))(copied / "checkpoints" / step)
    before = contents(copied)
    outcome = run_here(train.main, *nano, f"--workdir={copied}", "--num-steps=8")
    assert outcome.code == 3
    said = " ".join(outcome.stderr.split())
    for part in ("is intact: step 6: params/", "; step 3: params/", "start over with --fresh"):
        assert part in said
    assert contents(copied) == before
    with pytest.raises(CheckpointError, match="or train it again with --fresh"):
        zoo.load(copied)


def test_a_start_removes_what_a_killed_save_and_a_killed_deletion_leave(
    copied: Path, nano, run_here
):
    shutil.copytree(copied / "checkpoints" / "6", copied / "checkpoints" / "7.orbax-checkpoint-tmp")
    (copied / "checkpoints" / "3" / "params" / "_METADATA").unlink()
    outcome = run_here(train.main, *nano, f"--workdir={copied}")
    assert outcome.code == 0, outcome.stderr
    assert "damaged" not in outcome.stderr
    assert {path.name for path in (copied / "checkpoints").iterdir()} == {"6"}


def test_an_older_damaged_checkpoint_does_not_stop_a_run(copied: Path, nano, run_here):
    """Orbax reads the metadata of all steps."""
    (copied / "checkpoints" / "3" / "_CHECKPOINT_METADATA").write_text("[1]")
    outcome = run_here(train.main, *nano, f"--workdir={copied}", "--num-steps=7")
    assert outcome.code == 0, outcome.stderr
    assert "the checkpoint of step 3 is damaged" in outcome.stderr
    assert "resuming from checkpoints/6" in outcome.stderr


@pytest.mark.parametrize("link", [True, False], ids=["link", "pipe"])
def test_no_command_reads_a_record_that_is_not_a_file(link: bool, copied: Path, nano, run_here):
    """Some commands read it first, to know what to verify the checkpoint for."""
    path = copied / "checkpoints" / "6" / "run" / "metadata"
    if link:
        path.symlink_to(shutil.move(path, copied / "outside"))
    else:
        path.unlink()
        os.mkfifo(path)
    for main, flag in (evaluate.main, "--checkpoint"), (train.main, "--init-from"):
        outcome = run_here(main, f"{flag}={copied}")
        assert outcome.code == 3, outcome.stderr
        assert f"{path} is not a regular file" in outcome.stderr.replace("\n", "")


# --- checkpoints of earlier versions -----------------------------------------------------------


def without_manifest(folder: Path) -> Path:
    """The checkpoint as an earlier version wrote it."""
    (folder / manifest.FILE).unlink()
    path = folder / "run" / "metadata"
    record = json.loads(path.read_text())
    del record["manifest"]
    path.write_text(json.dumps(record))
    return folder


def test_without_a_manifest_a_checkpoint_of_an_earlier_version_is_taken(copied: Path):
    folder = without_manifest(copied / "checkpoints" / "6")
    assert recovery.survey(copied).newest == "6"
    recovery.verify(folder)


@pytest.mark.parametrize(
    "name",
    [
        "list in the step's metadata",
        "record of the run cut short",
        "params missing",
        "tokenizer missing",
        "link to a file",
        "link to a folder",
        "pipe",
    ],
)
def test_what_can_be_checked_without_a_manifest_is_checked(name: str, copied: Path):
    named = DAMAGES[name](without_manifest(copied / "checkpoints" / "6"))
    found = recovery.survey(copied)
    assert found.newest == "3"
    assert named.split(":")[0] in found.damaged["6"]


@pytest.mark.parametrize("name", [name for name in DAMAGES if "parameters" in name])
def test_arrays_without_a_manifest_are_refused_or_read(name: str, copied: Path, run_here):
    """Without a checksum a flipped bit may go unseen, but nothing ends in a traceback."""
    DAMAGES[name](without_manifest(copied / "checkpoints" / "6"))
    outcome = run_here(sample.main, f"--checkpoint={copied}", "--prompt=x", "--max-tokens=2")
    assert outcome.code in (0, 3)
    assert "Traceback" not in outcome.stderr


# --- nothing is executed -----------------------------------------------------------------------

_events: list[tuple[str, str]] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _events is not None and event in ("pickle.find_class", "open", "subprocess.Popen"):
        _events.append((event, str(arguments[0])))


sys.addaudithook(_note)


def test_reading_a_checkpoint_unpickles_and_starts_nothing(copied: Path):
    global _events
    zoo.load(copied)  # with all modules imported
    _events = []
    try:
        zoo.load(copied)
    finally:
        events, _events = _events, None
    assert {event for event, _ in events} == {"open"}
    opened = {Path(name) for _, name in events if name.startswith(str(copied.parent))}
    assert opened
    assert all(path.resolve().is_relative_to(copied / "checkpoints" / "6") for path in opened)
