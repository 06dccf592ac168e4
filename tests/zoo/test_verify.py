"""`python -m zoo.verify`: real runs once, then runs that were changed after they ended."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from zoo import verify
from zoo.reporting.record import RECORD_FILE
from zoo.runs.metrics import METRICS_FILE
from zoo.verification.runs import Launcher


def test_a_run_repeats_after_a_stop_on_a_mesh_and_on_two_hosts(
    nano, tmp_path, run_here, losses, monkeypatch
):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # to compile faster
    outcome = run_here(verify.main, *nano, "--steps=1", f"--workdir={tmp_path}", "--json")
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["holds"]
    assert result["devices"] == "1 x cpu (cpu)"
    stop, mesh, hosts = result["comparisons"].values()
    assert list(result["comparisons"]) == [
        "stop at step 1",
        "stop, then fsdp=2 tensor=2",
        "2 hosts, fsdp=2, then one",
    ]
    assert stop["metrics"]["largest"] == stop["params"]["largest"] == 0
    for comparison in (mesh, hosts):
        assert comparison["metrics"]["compared"] == stop["metrics"]["compared"] > 30
        assert 0 < comparison["metrics"]["largest"] < comparison["metrics"]["allowed"] <= 1e-4
        assert 0 < comparison["params"]["largest"] < comparison["params"]["allowed"] <= 1e-4
    assert losses(tmp_path / "straight") == losses(tmp_path / "stopped")
    assert losses(tmp_path / "straight") != losses(tmp_path / "mesh")
    said = (tmp_path / "hosts-1-0.log").read_text()
    assert "2 x cpu (cpu) of 2 processes" in said


@dataclass
class Ended:
    """Runs that are copies of one that has ended, as if resumed at step 3."""

    changes: dict[str, Callable[[Path], object]] = field(default_factory=dict)
    """Changes to make to a workdir, by the name of the run."""
    started: list[str] = field(default_factory=list)
    """The name, the steps and the devices of every run."""


@pytest.fixture
def ended(trained, monkeypatch) -> Ended:
    ended = Ended()

    def train(launcher: Launcher, name: str, num_steps: int, *flags: str, num_hosts: int = 1):
        workdir = launcher.folder / name
        if num_steps == 6:
            copy_resumed(trained.workdir, workdir, straight=name in ("straight", "rehearsal"))
            ended.changes.get(name, lambda _: None)(workdir)
        shown = [flag.replace("--mesh.", "") for flag in flags if not flag.endswith(("=1", "auto"))]
        ended.started.append(" ".join([name, str(num_steps), *shown]))
        return workdir

    monkeypatch.setattr(Launcher, "train", train)
    monkeypatch.setattr(Launcher, "copy", lambda *_: None)
    return ended


def copy_resumed(workdir: Path, copy: Path, *, straight: bool) -> None:
    shutil.copytree(workdir, copy)
    if not straight:
        record = json.loads((copy / RECORD_FILE).read_text())
        record["starts"].append(record["starts"][0] | {"first_step": 3})
        (copy / RECORD_FILE).write_text(json.dumps(record))


def test_the_table_names_what_was_compared_and_says_how_equal(ended, nano, run_here):
    outcome = run_here(verify.main, *nano, "--steps=3")
    assert outcome.code == 0, outcome.stderr
    header, stop, mesh, hosts, *notes, verdict = outcome.stdout.splitlines()
    columns = ["compared with the straight run", "metrics of all steps", "final parameters"]
    assert re.split("  +", header) == columns
    for row in (stop, mesh, hosts):
        assert row.count("equal to the bit") == 2
    assert notes == [
        "note: the other mesh is rehearsed on 4 fake CPU devices",
        "note: hosts are processes on this machine, with one fake CPU device each",
    ]
    assert verdict == "verified: 6 steps of palm_nano repeat on 1 x cpu (cpu)"


def test_one_bit_of_a_loss_is_found_and_named_and_the_runs_are_kept(ended, nano, run_here):
    def flip(workdir: Path) -> None:
        rows = [json.loads(line) for line in (workdir / METRICS_FILE).read_text().splitlines()]
        rows[3]["train/loss"] += 2**-20
        (workdir / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))

    ended.changes["stopped"] = flip
    outcome = run_here(verify.main, *nano, "--steps=3")
    assert outcome.code == 7
    assert "DIFFER from step 4 on: train/loss" in outcome.stdout
    assert "verified" not in outcome.stdout
    message = outcome.stderr.splitlines()[-1]
    assert "error: stop at step 3: at step 4, train/loss is " in message
    assert "the bits must be equal" in message
    kept = re.search(r"the runs are in (\S+)", message)
    assert kept is not None
    assert (Path(kept[1]) / "stopped").is_dir()
    shutil.rmtree(kept[1])


def test_a_run_that_did_not_resume_proves_nothing(ended, trained, nano, tmp_path, run_here):
    def start_over(workdir: Path) -> None:
        shutil.copy(trained.workdir / RECORD_FILE, workdir)

    ended.changes["hosts"] = start_over
    outcome = run_here(verify.main, *nano, "--steps=3", f"--workdir={tmp_path / 'runs'}", "--json")
    assert outcome.code == 7
    assert "start is [0, 3] in the reference and [0] in this run" in outcome.stderr
    result = json.loads(outcome.stdout)
    assert not result["holds"]
    assert result["comparisons"]["stop at step 3"]["first_difference"] is None


def test_the_folder_must_be_new(nano, tmp_path, run_here):
    (tmp_path / "file").touch()
    outcome = run_here(verify.main, *nano, f"--workdir={tmp_path}")
    assert outcome.code == 2
    assert "is not empty; name a new folder" in outcome.stderr
    outcome = run_here(verify.main, *nano, "--steps=0")
    assert outcome.code == 2
    assert "steps=0 must be above zero" in outcome.stderr


ON_THE_CHIPS_AND_BESIDE = ["straight 6", "stopped 3", "stopped 6", "rehearsal 6"]


@pytest.mark.parametrize(
    ("devices", "mesh", "num_notes"),
    [
        ("1 x TPU v4 (tpu)", "mesh 6 --fake-devices=4 fsdp=2 tensor=2", 2),
        ("8 x TPU v4 (tpu)", "mesh 6 data=2 fsdp=2 tensor=2", 1),
    ],
)
def test_accelerators_have_the_other_mesh_if_they_can_and_the_cpu_the_hosts(
    devices, mesh, num_notes, ended, nano, run_here
):
    def move(workdir: Path) -> None:
        path = workdir / RECORD_FILE
        path.write_text(path.read_text().replace("1 x cpu (cpu)", devices))

    ended.changes |= {"straight": move, "stopped": move}
    outcome = run_here(verify.main, *nano, "--steps=3", "--json")
    assert outcome.code == 0, outcome.stderr
    hosts = ["hosts 3 fsdp=2", "hosts 6"]
    assert ended.started == [*ON_THE_CHIPS_AND_BESIDE, mesh, *hosts]
    result = json.loads(outcome.stdout)
    assert result["devices"] == devices
    assert len(result["notes"]) == num_notes
    assert all("compared with a straight run on one" in note for note in result["notes"])
