"""The user's cache folder, and ways of writing that never leave anything half-written."""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from data.errors import DataError


def cache_folder(configured: str | None) -> Path:
    """Return the cache folder, which holds only what can be made again.

    It is `configured`, the value of data.cache_dir, or else `gpt-zoo` in the user's cache folder.
    """
    if configured is not None:
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gpt-zoo"


def write_file(path: Path, content: bytes) -> None:
    """Write `content` and force it to the disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file `path` by `content`, whole or not at all; make its folder if it is missing.

    Raises DataError if the disk is full or the folder cannot be written.
    """
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside `path`, hence on the same disk: the rename is atomic.
        partial = path.with_name(f".partial-{uuid.uuid4().hex}")
        try:
            write_file(partial, content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def growing_folder(path: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Yield a folder to fill, which is renamed to `path` when the block succeeds.

    Until then its name is that of `path` plus `.partial`. One process at a time fills it. After a
    failure or a kill the next process finds the contents and can continue. If `path` itself exists,
    it is yielded instead. `on_wait` is called before waiting for a process that is filling the
    folder. Raises DataError if the disk is full or the folder cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    with _write_errors(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not path.exists() and not _lock(partial, stack, on_wait):
            pass  # the other process finished the folder or gave it up
        if path.exists():
            with suppress(OSError):
                partial.rmdir()
            yield path
            return
        yield partial
        os.rename(partial, path)


def _lock(folder: Path, stack: ExitStack, on_wait: Callable[[], None]) -> bool:
    """Make `folder` and lock it until `stack` closes; return False if it vanished meanwhile."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat())


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a DataError that names `path`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; "
            "free some space on its disk, or name a writable folder with data.cache_dir"
        ) from error
