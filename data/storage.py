"""The user's cache folder, and writing to it so that nothing is ever half-written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to be filled, which becomes `path` when the block ends well.

    Where another process was faster its folder stands: both were made from the same key.

    Raises:
      DataError: the disk is full or the folder cannot be written to.
    """
    with _temporary_folder(path) as parent:
        folder = parent / path.name
        folder.mkdir()
        yield folder
        try:
            os.rename(folder, path)
        except OSError:
            if not path.is_dir():
                raise


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Yields a passing folder beside `path`, on the same disk so that a rename is atomic."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}. "
            "Free some space there, or name a writable folder with data.cache_dir."
        ) from error
