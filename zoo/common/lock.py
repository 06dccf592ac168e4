"""The lock of a workdir: one run at a time writes to it.

The lock is `flock` on a file in the workdir. The kernel, or the server of a network file system,
releases it when its process dies. Some network file systems keep such locks on each host, or have
none. There the owner's heartbeat decides: the file names its owner and counts its beats, and a run
on another host takes over only from an owner whose count stands still. Clocks are not compared.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from zoo.common.errors import WorkdirError
from zoo.common.folders import writing

FILE = ".lock"
BEAT_EVERY_S = 5.0
WATCHED_FOR_S = 70.0
"""The time for which another host's owner must not beat. NFS may show a file up to 60 s late."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def held(workdir: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of `workdir` in the block; the folder is made if it does not exist.

    `say` gets a line if the owner has to be watched. Raises WorkdirError, which names the owner, if
    another process holds the lock, and if the folder cannot be written.
    """
    path = workdir / FILE
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        file = _lock(path, workdir, say)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(file, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with suppress(OSError):  # The workdir may be gone.
            if _is_current(file, path):
                path.unlink()
        os.close(file)


def _lock(path: Path, workdir: Path, say: Callable[[str], None]) -> int:
    """Return the descriptor of the locked file, with this process as its owner."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            has_locks = _try_flock(file)
            if has_locks is None:
                raise _in_use(workdir, _read_owner(path))
            if not _is_current(file, path):  # The previous owner has just deleted it.
                os.close(file)
                continue
            owner = _read_owner(path)
            if owner and not (has_locks and owner.get("host") == socket.gethostname()):
                say(
                    f"{workdir} was last used by {_name(owner)}, which did not end properly: "
                    f"watching for {WATCHED_FOR_S:.0f} s whether it still runs"
                )
                if _beats(path, owner):
                    raise _in_use(workdir, owner)
            _write_owner(file, beat=0)
            return file
        except BaseException:
            with suppress(OSError):
                os.close(file)
            raise


def _try_flock(file: int) -> bool | None:
    """Return True if the lock is taken, None if another process has it, False without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _is_current(file: int, path: Path) -> bool:
    """Return False if `path` no longer names the open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _beats(path: Path, owner: dict[str, Any]) -> bool:
    """Watch the file; return True as soon as its owner changes it."""
    end_s = time.monotonic() + WATCHED_FOR_S
    while time.monotonic() < end_s:
        time.sleep(BEAT_EVERY_S / 5)
        if _read_owner(path) != owner:  # Opened anew: NFS then asks the server.
            return True
    return False


def _beat(file: int, ended: threading.Event) -> None:
    beat = 0
    while not ended.wait(BEAT_EVERY_S):
        beat += 1
        with suppress(OSError):  # A full disk is for the run itself to report.
            _write_owner(file, beat)


_STARTED = datetime.now().astimezone().isoformat(timespec="seconds")


def _write_owner(file: int, beat: int) -> None:
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _STARTED,
        "command": " ".join(sys.argv),
        "beat": beat,
    }
    content = json.dumps(owner).encode()
    os.pwrite(file, content, 0)
    os.ftruncate(file, len(content))
    os.fsync(file)


def _read_owner(path: Path) -> dict[str, Any]:
    """Return the owner; {} if the file is new, or is just being written."""
    try:
        owner = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _name(owner: dict[str, Any]) -> str:
    if "pid" not in owner:
        return "another process, which is just starting"
    return (
        f"process {owner['pid']} on {owner.get('host')}, started {owner.get('started')} as "
        f"`{owner.get('command')}`"
    )


def _in_use(workdir: Path, owner: dict[str, Any]) -> WorkdirError:
    return WorkdirError(
        f"--workdir={workdir} is in use by {_name(owner)}; wait for it, stop it, or name another "
        "--workdir"
    )
