"""Folders that a command writes whole or not at all, with one clear error for a full disk."""

import errno
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.common.errors import WorkdirError


@contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Raise WorkdirError for an OSError in the block.

    A thread of TensorBoard's writer or of TensorStore may meet the full disk first; what
    such threads report is left out.
    """
    print_thread_error, print_unraisable = threading.excepthook, sys.unraisablehook

    def leave_out_os_errors(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            print_thread_error(args)

    def leave_out_closed_loop(args: "sys.UnraisableHookArgs") -> None:
        # TensorStore's threads report a failed write to Orbax's event loop, already closed by then.
        if str(args.exc_value) != "Event loop is closed":
            print_unraisable(args)

    threading.excepthook = leave_out_os_errors
    sys.unraisablehook = leave_out_closed_loop
    try:
        yield
    except OSError as error:
        raise WorkdirError(
            f"--workdir={workdir} cannot be written: {_reason(error)}; {_remedy(error)}; the "
            "finished checkpoints in it are whole"
        ) from error
    finally:
        threading.excepthook, sys.unraisablehook = print_thread_error, print_unraisable


@contextmanager
def new_folder(path: Path, flag: str) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `path` if the block succeeds and is deleted if it fails.

    Raises WorkdirError, which names `flag`, if `path` is not empty or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WorkdirError(f"{flag}={path} is not empty; name a new folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            partial.chmod(0o755)
            yield partial
            partial.replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise WorkdirError(
            f"{flag}={path} cannot be written: {_reason(error)}; {_remedy(error)}"
        ) from error


def check_space(
    workdir: Path, num_checkpoints: int, checkpoint_bytes: int, *, freed_bytes: int = 0
) -> None:
    """Raise WorkdirError unless `num_checkpoints` more fit on the workdir's disk.

    `freed_bytes` will be deleted from it first.
    """
    need = num_checkpoints * checkpoint_bytes
    free = shutil.disk_usage(workdir).free + freed_bytes
    if need > free:
        raise WorkdirError(
            f"--workdir={workdir} has {free / 1e6:,.1f} MB free and {num_checkpoints} checkpoints "
            f"of {checkpoint_bytes / 1e6:,.1f} MB need {need / 1e6:,.1f}; free some space, name "
            "another folder or lower --keep"
        )


def num_bytes(folder: Path) -> int:
    """Return the bytes of all files below `folder`; 0 if it does not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename} is a file, not a folder"
    return error.strerror or str(error)


def _remedy(error: OSError) -> str:
    """Return what a person can do about it. TensorStore's errors carry no number, but a text."""
    return next(
        (remedy for text, remedy in _REMEDIES.items() if text in str(error)),
        "free some space or name another folder",
    )


_REMEDIES = {
    os.strerror(errno.EDQUOT): "free some of your quota, have it raised, or name another folder",
    os.strerror(errno.EROFS): "mount it for writing or name another folder",
    os.strerror(errno.EACCES): "change its permissions or name another folder",
    os.strerror(errno.EPERM): "change its permissions or name another folder",
    os.strerror(errno.ENOENT): (
        "it was removed, renamed or unmounted: bring it back and start the same command again, or "
        "name another folder"
    ),
    os.strerror(errno.ESTALE): "mount it again and start the same command again",
    os.strerror(errno.EIO): "check the disk, or name a folder on another one",
}
