"""The user's cache folder, and writing to it so that nothing is ever half-written."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from data.errors import DataError


def cache_folder(configured: str | None) -> Path:
    """The folder of everything that can be made again.

    Args:
      configured: `data.cache_dir`; None means `gpt-zoo` in the user's cache folder.
    """
    if configured is not None:
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gpt-zoo"


def write_file(path: Path, content: bytes) -> None:
    """Writes `content` and forces it to the disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Makes `path` hold `content`, wholly or not at all.

    Raises:
      DataError: the disk is full or the folder cannot be written to.
    """
    with _temporary_folder(path) as folder:
        write_file(folder / path.name, content)
        os.replace(folder / path.name, path)


@contextmanager
def growing_folder(path: Path, waits: Callable[[], None]) -> Iterator[Path]:
    """Yields a folder to be filled, which becomes `path` when the block ends well.

    Until then it is `path` with `.partial` behind it. One process at a time fills it; after a kill
    the next one finds what was there. A process that finds `path` itself gets that, untouched.

    Args:
      waits: called if another process is filling the folder, before waiting for it.

    Raises:
      DataError: the disk is full or the folder cannot be written to.
    """
    partial = path.with_name(path.name + ".partial")
    with explain_full_disk(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not path.exists() and not _lock(partial, stack, waits):
            pass  # the process that was waited for finished the folder or gave it up
        if path.exists():
            with suppress(OSError):
                partial.rmdir()
            yield path
            return
        yield partial
        os.rename(partial, path)


def _lock(folder: Path, stack: ExitStack, waits: Callable[[], None]) -> bool:
    """Makes `folder` and locks it until `stack` ends; False if it is not there any more then."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat())


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """What cannot be written below or beside `path` becomes a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}. "
            "Free some space there, or name a writable folder with data.cache_dir."
        ) from error


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Yields a passing folder beside `path`, on the same disk so that a rename is atomic."""
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
