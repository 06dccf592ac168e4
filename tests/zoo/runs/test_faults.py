"""Disks that fail under a run: it stops with its last good checkpoint and says what to do."""

import errno
import os
import shutil

import pytest

from zoo import train
from zoo.checkpoints import checkpoint, manifest, recovery

# TensorStore's threads report a failed write to Orbax's event loop, which is gone by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_while_saving_keeps_what_was_saved(
    number: int, copied, nano, run_here, monkeypatch, losses
):
    def fail(folder):
        (folder / manifest.FILE).write_text("{")
        raise OSError(number, os.strerror(number), str(folder))

    flags = [*nano, f"--workdir={copied}", "--num-steps=9"]
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", fail)
        outcome = run_here(train.main, *flags)
    assert outcome.code == 2, outcome.stderr
    said = " ".join(outcome.stderr.split())
    assert f"--workdir={copied} cannot be written: {os.strerror(number)}; " in said
    assert "the finished checkpoints in it are whole" in said
    assert "Traceback" not in outcome.stderr
    assert recovery.survey(copied) == recovery.Survey("6", {}, {})
    assert (copied / "checkpoints" / "9.orbax-checkpoint-tmp").exists()

    again = run_here(train.main, *flags)
    assert again.code == 0, again.stderr
    assert "resuming from checkpoints/6" in again.stderr
    assert [path.name for path in (copied / "checkpoints").glob("*tmp*")] == []
    assert losses(copied)[-1]["step"] == 9


@pytest.mark.parametrize("moved", [True, False])
def test_a_workdir_that_vanishes_is_not_made_anew(
    moved: bool, copied, nano, run_here, monkeypatch, tmp_path
):
    moved_to = tmp_path / "moved"

    def evaluate(*_):
        if moved:
            copied.rename(moved_to)
        else:
            shutil.rmtree(copied)
        return {"eval/loss": 1.0, "eval/bits_per_byte": 1.0}

    monkeypatch.setattr("zoo.runs.loop.evaluate_run", evaluate)
    outcome = run_here(train.main, *nano, f"--workdir={copied}", "--num-steps=9")
    assert outcome.code == 2, outcome.stderr
    assert "it was removed, renamed or unmounted" in " ".join(outcome.stderr.split())
    assert "Traceback" not in outcome.stderr
    assert not copied.exists()
    if moved:
        assert checkpoint.saved_steps(moved_to) == [3, 6]
        recovery.verify(moved_to / "checkpoints" / "6")
