"""How processes find each other, and what they say if they do not."""

import os
import re
import socket
import time
from pathlib import Path

import pytest

from configs.experiment import Distributed
from models.config import ConfigError
from tests.zoo.distribution.jobs import job
from zoo.distribution import join as hosts


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
