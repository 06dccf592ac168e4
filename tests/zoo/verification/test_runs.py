"""Processes that stand in for zoo.train, and how they fail."""

import sys
from pathlib import Path

import pytest

from zoo.common.errors import StartedRunError
from zoo.verification.runs import Launcher


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Starts the lines of a shell script instead of Python, with zoo.train's flags as $@."""

    def make(script: str) -> Launcher:
        path = tmp_path / "script"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        return Launcher(tmp_path, ["--model=palm_nano"], lambda _: None)

    return make


def test_all_processes_get_the_flags_and_their_own(launcher, tmp_path):
    workdir = launcher('echo "$@"').train("two", 6, "--fake-devices=1", num_hosts=2)
    assert workdir == tmp_path / "two"
    for number in (0, 1):
        said = (tmp_path / f"two-6-{number}.log").read_text()
        assert "-m zoo.train --model=palm_nano" in said
        assert f"--workdir={workdir} --num-steps=6 --fake-devices=1 --distributed.coord" in said
        assert f"--distributed.num-processes=2 --distributed.process-id={number}" in said


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("echo 'error: no text'; echo after; exit 3", 3, "the run one failed: no text (its"),
        ("echo Traceback; echo ValueError; exit 1", 1, "the run one failed: ValueError (its"),
        ("kill -9 $$", 1, "the run one failed: it was silent (its"),
    ],
)
def test_a_run_that_fails_says_why_and_gives_its_exit_code(launcher, script, code, message):
    with pytest.raises(StartedRunError) as failed:
        launcher(script).train("one", 6)
    assert failed.value.exit_code == code
    assert message in str(failed.value)
    assert Path(str(failed.value).split(" is in ")[1][:-1]).exists()


def test_the_process_that_knows_the_reason_speaks(launcher):
    lost = 'case "$*" in *process-id=0) echo "error: gone"; exit 6;; esac'
    starter = launcher(f'{lost}; echo "error: x"; exit 2')
    with pytest.raises(StartedRunError, match="failed: x") as failed:
        starter.train("one", 6, num_hosts=2)
    assert failed.value.exit_code == 2
