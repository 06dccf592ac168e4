"""Runs of several processes for real, each with CPU devices of its own, connected by Gloo."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo
from configs.experiment import Distributed
from models.config import ConfigError
from zoo import train
from zoo.checkpoints import checkpoint
from zoo.distribution import join as hosts
from zoo.runs.metrics import read_metrics

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 240.0
"""Only reached when something hangs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The processes of one run, as a launcher on each host starts them."""

    workdir: Path
    processes: list[subprocess.Popen[str]]

    def signal(self, process_id: int, number: signal.Signals, *, at_step: int) -> None:
        give_up_at_s = time.monotonic() + DEADLINE_S
        while not any(row["step"] >= at_step for row in read_metrics(self.workdir)):
            if self.processes[process_id].poll() is not None or time.monotonic() > give_up_at_s:
                break
            time.sleep(0.02)
        self.processes[process_id].send_signal(number)

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, stdout and stderr of each."""
        ends = []
        for process in self.processes:
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
            ends.append((process.returncode, stdout, stderr))
        return ends


@contextlib.contextmanager
def job(
    workdir: Path, *flags: str, size: int = 2, devices: int = 2, own_flags: tuple[str, ...] = ()
) -> Iterator[Job]:
    """`size` processes with the same flags; the last has `own_flags` besides."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Only the first process writes the compilation cache, so the others must compile quickly.
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    processes = []
    for process_id in range(size):
        distributed = [
            f"--distributed.coordinator=127.0.0.1:{port}",
            f"--distributed.num-processes={size}",
            f"--distributed.process-id={process_id}",
        ] * (size > 1)
        command = [
            sys.executable,
            "-m",
            "zoo.train",
            *flags,
            f"--workdir={workdir}",
            *distributed,
            f"--fake-devices={devices}",
            "--json",
            *(own_flags if process_id == size - 1 else ()),
        ]
        processes.append(
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    try:
        yield Job(workdir, processes)
    finally:
        for process in processes:
            process.kill()


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


@pytest.mark.parametrize(
    ("present", "missing"), [(0, "processes 1, 2 of 3"), (2, "processes 0, 1 of 3")]
)
def test_who_does_not_come_is_named(nano, tmp_path, run_process, present, missing):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = run_process(
        "-m",
        "zoo.train",
        *nano,
        f"--workdir={tmp_path}",
        "--fake-devices=1",
        f"--distributed.coordinator=127.0.0.1:{port}",
        "--distributed.num-processes=3",
        f"--distributed.process-id={present}",
        "--distributed.timeout-s=2",
    )
    assert process.returncode == 2, process.stderr
    assert f"error: {missing} did not come within 2 s" in process.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own_flags", "code", "message"),
    [
        (
            ("--seed=7",),
            2,
            r"about what to run: seed is 0 on \S+ \(process 0\) and 7 on \S+ \(proc",
        ),
        (("--data.files={other}",), 3, r"about the text: corpus is \w+ on .* and \w+ on"),
        (("--data.files=/nowhere/*",), 3, r"data\.files='/nowhere/\*' matches no file"),
    ],
    ids=["config", "text", "no text"],
)
def test_processes_that_disagree_all_say_so(nano, corpus_glob, tmp_path, own_flags, code, message):
    other = tmp_path / "other"
    other.mkdir()
    for path in Path(corpus_glob).parent.glob("*.txt"):
        (other / path.name).write_text(path.read_text() + "more")
    flags = tuple(flag.format(other=f"{other}/*.txt") for flag in own_flags)
    with job(tmp_path / "run", *nano, own_flags=flags) as two:
        ends = two.end()
    for found, stdout, said in ends:
        assert found == code, said
        assert re.search(message, said)
        assert stdout == ""
        assert "Traceback" not in said


SLURM = {
    "SLURM_JOB_ID": "12345",
    "SLURM_STEP_NODELIST": "node[001-002]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}


@pytest.fixture
def in_cluster(monkeypatch):
    def enter(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return enter


@pytest.mark.parametrize(("variables", "host"), [(SLURM, "node001"), (OPEN_MPI, "10.96.0.1")])
def test_a_cluster_says_which_process_this_is(variables, host, in_cluster):
    in_cluster(variables)
    place = hosts._identity(Distributed())
    assert place is not None
    assert place.coordinator.startswith(f"{host}:")
    assert (place.num_processes, place.process_id) == (2, 1)


@pytest.mark.parametrize(
    ("variables", "config"),
    [
        ({}, Distributed()),
        (SLURM, Distributed(num_processes=1)),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, Distributed()),
    ],
    ids=["no cluster", "asked to", "one task"],
)
def test_a_process_alone_goes_on_alone(variables, config, in_cluster):
    in_cluster(variables)
    assert hosts._identity(config) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Distributed(coordinator="a:1"), "belong together .* write all three"),
        (Distributed(num_processes=2, process_id=0), "belong together .* write all three"),
        (Distributed(coordinator="a:1", num_processes=2, process_id=2), "must be from 0 to .* 1$"),
    ],
)
def test_flags_that_do_not_say_who_is_who_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        hosts._identity(config)


def test_a_cluster_that_cannot_be_read_is_refused(in_cluster):
    in_cluster(SLURM | {"SLURM_NTASKS": "many"})
    with pytest.raises(ConfigError, match="does not say which processes .* to train in this proc"):
        hosts._identity(Distributed())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "10.0.0.1"}, r"coordinator=10\.0\.0\.1 must be HOST:PORT"),
        ({"num_processes": 0}, r"num_processes=0 must be above zero"),
        ({"timeout_s": 0}, r"--distributed\.timeout-s=1 or more"),
    ],
)
def test_a_flag_that_cannot_be_is_refused(flags, message):
    with pytest.raises(ConfigError, match=message):
        Distributed(**flags)


def register(folder: Path, process_id: int, size: int = 12) -> hosts._Register:
    return hosts._Register(folder, hosts._Identity("a:1", size, process_id, None))


def test_who_left_long_ago_is_missing_too(tmp_path):
    register(tmp_path, 1)
    register(tmp_path, 2)
    long_ago_s = time.time() - 60
    os.utime(tmp_path / ".hosts" / "2", (long_ago_s, long_ago_s))
    missing = "processes 2, 3, 4, 5, 6, 7, 8, 9 and 2 more of 12"
    assert register(tmp_path, 0).missing() == missing


def test_a_workdir_of_its_own_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "SHOWN_WITHIN_S", 0.0)
    alone = register(tmp_path, 1)
    with pytest.raises(ConfigError, match="not the folder that process 0 sees under this name"):
        alone.check_shared()
    register(tmp_path, 0)
    alone.check_shared()
