"""Runs of several processes for real: they train, save, stop and rewind as one."""

import fcntl
import json
import shutil
import signal
import time
from pathlib import Path

import pytest

import zoo
from tests.zoo.distribution.jobs import job
from zoo import train
from zoo.checkpoints import checkpoint
from zoo.reporting.recorded_run import read_events
from zoo.runs.metrics import read_metrics


@pytest.fixture
def long(nano) -> list[str]:
    """Flags of a run long enough to be stopped twice."""
    return [*nano, "--mesh.fsdp=2", "--num-steps=48", "--eval-every=1000", "--save-every=1000"]


@pytest.fixture
def whole(session_folder: Path, long) -> tuple[Path, list]:
    """Workdir and ends of a run of two processes in one piece, made once for all workers."""
    workdir, record = session_folder / "hosts", session_folder / "hosts.json"
    with (session_folder / "hosts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            with job(workdir, *long) as two:
                record.write_text(json.dumps(two.end()))
    return workdir, json.loads(record.read_text())


def test_two_processes_train_as_one_with_as_many_devices(whole, long, tmp_path, losses):
    workdir, ends = whole
    assert [code for code, _, _ in ends] == [0, 0], ends
    with job(tmp_path, *long, "--num-steps=10", size=1, devices=4) as one:
        ((code, _, said),) = one.end()
    assert code == 0, said
    for together, alone in zip(losses(workdir), losses(tmp_path)[:-1], strict=False):
        assert together == pytest.approx(alone, rel=1e-4)


def test_one_process_writes_and_speaks_for_all(whole):
    workdir, ((_, stdout, said), (_, other_stdout, other_said)) = whole
    assert json.loads(stdout)["step"] == 48
    assert other_stdout == ""
    assert "devices: 4 x cpu (cpu) of 2 processes" in said
    assert "first loss" in said
    assert "first loss" not in other_said
    assert "process 1 of 2, meeting the others at 127.0.0.1:" in other_said
    assert [row["step"] for row in read_metrics(workdir)] == list(range(1, 49))
    assert not (workdir / ".hosts").exists()


def test_what_two_processes_saved_is_read_by_one(whole):
    workdir, _ = whole
    (text,) = zoo.load(workdir).sample(["def "], max_tokens=5)
    assert text


def test_four_processes_split_the_model_too_and_stop_together(trained, nano, tmp_path, losses):
    flags = [*nano, "--mesh.fsdp=2", "--mesh.tensor=2", "--num-steps=1000", "--eval-every=1000"]
    with job(tmp_path, *flags, size=4, devices=1) as four:
        four.signal(2, signal.SIGINT, at_step=2)
        ends = four.end()
    assert [code for code, _, _ in ends] == [130] * 4, ends
    pairs = list(zip(losses(tmp_path), losses(trained.workdir), strict=False))
    assert len(pairs) >= 2
    for together, alone in pairs:
        training = {key: value for key, value in alone.items() if "eval" not in key}
        assert together == pytest.approx(training, rel=1e-4)


def test_a_stopped_or_lost_process_ends_all_and_the_job_goes_on_exactly(
    whole, long, tmp_path, losses
):
    with job(tmp_path, *long) as preempted:
        preempted.signal(1, signal.SIGTERM, at_step=5)
        ends = preempted.end()
    assert [code for code, _, _ in ends] == [75, 75], ends
    (saved,) = checkpoint.saved_steps(tmp_path)
    assert 5 <= saved < 48
    for _, _, said in ends:
        assert f"SIGTERM: saved step {saved} of 48" in said

    with job(tmp_path, *long) as killed:
        killed.signal(0, signal.SIGKILL, at_step=saved + 4)
        killed_at_s = time.monotonic()
        (first, _, _), (second, _, said) = killed.end()
    assert time.monotonic() - killed_at_s < 60
    assert (first, second) == (-signal.SIGKILL, 6), said
    assert "error: another process of this run is gone" in said
    assert "start all of them again with the same command" in said
    assert checkpoint.saved_steps(tmp_path) == [saved]
    assert losses(tmp_path)[-1]["step"] > saved

    with job(tmp_path, *long) as again:
        ends = again.end()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert losses(tmp_path) == losses(whole[0])


def test_two_processes_rewind_together_and_end_together(long, tmp_path):
    # Nearly every step that is not better than the median before it is a spike.
    policy = ["action=rewind", "window=8", "deviations=0.01", "rewind-steps=2", "attempts=1"]
    flags = [f"--divergence.{setting}" for setting in (*policy, "skip-batches=4")]
    with job(tmp_path, *long, "--save-every=3", *flags) as two:
        ends = two.end()
    assert [code for code, _, _ in ends] == [4, 4], ends
    kinds = [event["kind"] for event in read_events(tmp_path)]
    assert kinds.count("rewind") >= 1
    assert kinds[-1] == "abort"


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--max-hours=1e-6"], 76, "--max-hours is over: saved step "),
        # So low a rate changes no loss.
        (["--patience=1", "--eval-every=1", "--optimizer.schedule.peak-lr=1e-30"], 0, "step 2"),
    ],
    ids=["hours", "patience"],
)
def test_two_processes_stop_at_the_same_step(flags, code, said, long, tmp_path):
    with job(tmp_path, *long, *flags) as two:
        ends = two.end()
    assert [each for each, _, _ in ends] == [code, code], ends
    assert said in ends[0][2]
    steps = checkpoint.saved_steps(tmp_path)
    assert steps[-1] == read_metrics(tmp_path)[-1]["step"] < 48


def test_two_processes_stream_their_own_shares_and_go_on_exactly(
    streamed, tmp_path, losses, run_here
):
    flags = [*streamed, "--num-steps=16", "--eval-every=1000", "--save-every=8"]
    with job(tmp_path / "whole", *flags) as one_piece:
        ends = one_piece.end()
    assert [code for code, _, _ in ends] == [0, 0], ends
    run = shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(checkpoint.find(run))
    folder = checkpoint.find(run) / "stream"
    positions = [(folder / f"process_{n}" / "positions.json").read_bytes() for n in range(2)]
    assert [json.loads(each)["shard"] for each in positions] == [
        {"index": 0, "count": 2},
        {"index": 1, "count": 2},
    ]

    alone = run_here(train.main, *flags, f"--workdir={run}")
    assert alone.code == 3
    assert "hosts was 2, now 1" in alone.stderr
    with job(run, *flags) as resumed:
        ends = resumed.end()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "resuming from checkpoints/8" in ends[0][2]
    assert losses(run) == losses(tmp_path / "whole")
