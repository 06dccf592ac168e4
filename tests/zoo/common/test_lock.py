"""One run at a time writes to a workdir, and a crash leaves it free."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zoo import sample, train
from zoo.common import lock
from zoo.common.errors import WorkdirError

REPOSITORY = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from zoo.common import lock
lock.BEAT_EVERY_S = 0.05
with lock.held(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def other_process(workdir: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `workdir` until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workdir)],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def take(workdir: Path) -> list[str]:
    """Take and release the lock; return what is said on the way."""
    said = []
    with lock.held(workdir, said.append):
        pass
    return said


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "BEAT_EVERY_S", 0.05)
    monkeypatch.setattr(lock, "WATCHED_FOR_S", 0.5)


def test_the_other_process_is_named_and_its_death_frees_the_workdir(tmp_path: Path):
    with other_process(tmp_path) as owner:
        with pytest.raises(WorkdirError) as refused:
            take(tmp_path)
        for part in (f"--workdir={tmp_path} is in use by process {owner.pid} on ", "`-c"):
            assert part in str(refused.value)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert (tmp_path / lock.FILE).exists()
        assert take(tmp_path) == []


def test_the_lock_is_held_against_the_same_process_too(tmp_path: Path):
    with lock.held(tmp_path, print), pytest.raises(WorkdirError, match=f"process {os.getpid()} "):
        take(tmp_path)
    assert take(tmp_path) == []


def test_nothing_is_left_behind(tmp_path: Path):
    take(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    with lock.held(tmp_path / "new", print):
        shutil.rmtree(tmp_path / "new")


def test_the_owner_shows_that_it_lives(tmp_path: Path, quick):
    with lock.held(tmp_path, print):
        beats = set()
        deadline_s = time.monotonic() + 30
        while len(beats) < 3 and time.monotonic() < deadline_s:
            beats.add(lock._read_owner(tmp_path / lock.FILE).get("beat"))
    assert len(beats) >= 3


def test_of_many_at_once_one_gets_it(tmp_path: Path):
    outcomes, start = [], threading.Barrier(8)
    inside = threading.Lock()

    def contend():
        start.wait()
        for _ in range(30):
            try:
                with lock.held(tmp_path, print):
                    assert inside.acquire(blocking=False), "two hold it"
                    outcomes.append(True)
                    inside.release()
            except WorkdirError:
                pass

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes
    assert inside.acquire(blocking=False)


# --- file systems whose locks do not reach other hosts, or that have none ------------------------


def leave_owner(workdir: Path, host: str, beat: int = 3) -> None:
    owner = {"host": host, "pid": 7, "started": "today", "command": "zoo.train", "beat": beat}
    (workdir / lock.FILE).write_text(json.dumps(owner))


def test_a_dead_owner_on_another_host_is_replaced(tmp_path: Path, quick):
    leave_owner(tmp_path, "elsewhere")
    (line,) = take(tmp_path)
    assert "was last used by process 7 on elsewhere, started today as `zoo.train`" in line


def test_a_live_owner_on_another_host_is_not(tmp_path: Path, quick, monkeypatch):
    monkeypatch.setattr(lock, "WATCHED_FOR_S", 60.0)
    leave_owner(tmp_path, "elsewhere")
    beat = threading.Timer(0.3, leave_owner, (tmp_path, "elsewhere", 4))
    beat.start()
    with pytest.raises(WorkdirError, match="in use by process 7 on elsewhere"):
        take(tmp_path)
    beat.join()


def test_without_locks_the_heartbeat_decides(tmp_path: Path, quick, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with other_process(tmp_path) as owner:
        monkeypatch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(WorkdirError, match=f"in use by process {owner.pid} on "):
            take(tmp_path)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        (line,) = take(tmp_path)
        assert f"process {owner.pid} on " in line


# --- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--fresh"]])
def test_a_second_run_is_refused_and_reading_is_not(flags, copied: Path, nano, run_here):
    before = sorted(copied.rglob("*"))
    with lock.held(copied, print):
        outcome = run_here(train.main, *nano, f"--workdir={copied}", *flags)
        reading = run_here(sample.main, f"--checkpoint={copied}", "--prompt=x", "--max-tokens=1")
    assert outcome.code == 2
    assert f"in use by process {os.getpid()} on " in " ".join(outcome.stderr.split())
    assert sorted(copied.rglob("*")) == before
    assert reading.code == 0, reading.stderr
