"""Folders that a command writes: made whole or not at all, and a full disk is one clear error."""

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import WorkdirError


@contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Turn an OSError of the block into a WorkdirError, also where a thread of TensorBoard's writer or
    of TensorStore meets the full disk first."""
    print_thread_error, print_unraisable = threading.excepthook, sys.unraisablehook

    def leave_out_os_errors(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            print_thread_error(args)

    def leave_out_closed_loop(args: "sys.UnraisableHookArgs") -> None:
        # TensorStore's threads report a failed write to Orbax's event loop, which is closed by then.
        if str(args.exc_value) != "Event loop is closed":
            print_unraisable(args)

    threading.excepthook = leave_out_os_errors
    sys.unraisablehook = leave_out_closed_loop
    try:
        yield
    except OSError as error:
        raise WorkdirError(
            f"--workdir={workdir} cannot be written: {_reason(error)}; free some space or name "
            "another folder. Finished checkpoints in it are whole"
        ) from error
    else:  # otherwise the program ends, and late threads have nothing to add
        threading.excepthook, sys.unraisablehook = print_thread_error, print_unraisable


@contextmanager
def new_folder(path: Path, flag: str) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block succeeds and is deleted when it fails.

    Raises WorkdirError if `path` holds something already or cannot be written.
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
            f"{flag}={path} cannot be written: {error.strerror or error}; free some space or name "
            "another folder"
        ) from error


def check_space(
    workdir: Path, num_checkpoints: int, checkpoint_bytes: int, *, freed_bytes: int = 0
) -> None:
    """Raise WorkdirError unless that many checkpoints fit on the disk of the workdir, from which
    `freed_bytes` will be deleted first."""
    need = num_checkpoints * checkpoint_bytes
    free = shutil.disk_usage(workdir).free + freed_bytes
    if need > free:
        raise WorkdirError(
            f"--workdir={workdir} has {free / 1e6:,.1f} MB free and {num_checkpoints} checkpoints "
            f"of {checkpoint_bytes / 1e6:,.1f} MB need {need / 1e6:,.1f}; free some space, name "
            "another folder or lower --keep"
        )


def num_bytes(folder: Path) -> int:
    """Bytes of all files below the folder; 0 if it does not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename} is a file, not a folder"
    return error.strerror or str(error)
