"""What can go wrong, and the exit code of each. A user's mistake never shows a traceback."""

from data.errors import DataConfigError, DataError
from models.config import ConfigError
from zoo.process import LOST_HOST, LOST_HOST_MESSAGE


class CheckpointError(Exception):
    """A checkpoint that is missing, damaged or of another model. Exit code 3."""


class WorkdirError(Exception):
    """A workdir that cannot be written. Exit code 2."""


class DivergedError(Exception):
    """A loss that is no longer finite. Exit code 4."""


class OutOfMemoryError(Exception):
    """A step that the devices have too little memory for, with what to do about it. Exit code 5."""


class StoppedError(Exception):
    """A run that a signal ended, with its state saved. Exit code 130 (Ctrl-C) or 75 (SIGTERM)."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class OtherHostError(Exception):
    """An error of another process of the run, with its exit code."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class LostHostError(OtherHostError):
    """A process of the run that did not come (exit code 2) or is gone (6): nobody waits for it."""


_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, 2),
    (DataConfigError, 2),
    (WorkdirError, 2),
    (DataError, 3),
    (CheckpointError, 3),
    (DivergedError, 4),
    (OutOfMemoryError, 5),
)


def exit_code(error: Exception) -> int | None:
    """What the process should exit with; None for an internal error, which shows its traceback.

    0 done, 1 internal error, 2 usage or config, 3 data or checkpoint missing or damaged,
    4 diverged, 5 out of memory, 6 another process of the run is gone, 75 stopped by a pre-emption with the state saved, 130 stopped by
    Ctrl-C with the state saved.
    """
    if isinstance(error, StoppedError | OtherHostError):
        return error.exit_code
    if is_lost_host(error):
        return LOST_HOST
    if is_out_of_memory(error):
        return 5
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), None)


def message(error: Exception) -> str:
    """What to tell a person, who should never see XLA's own dump of its buffers."""
    if is_lost_host(error) and not isinstance(error, LostHostError):
        return f"{LOST_HOST_MESSAGE} ({str(error).splitlines()[0][:200]})"
    if not is_out_of_memory(error):
        return str(error)
    return (
        f"out of memory ({out_of_memory_reason(error)}); in this order, try --execution.remat=full, a larger "
        "--micro-batches (zoo.evaluate: a smaller --batch-tokens), or more devices along --mesh.fsdp"
    )


def out_of_memory_reason(error: Exception) -> str:
    """The first line of what XLA says, which holds the numbers."""
    # Python's own MemoryError says nothing.
    first_line = (str(error).splitlines() or ["of this computer, not of an accelerator"])[0]
    return first_line.removeprefix("RESOURCE_EXHAUSTED: ")[:200]


def is_lost_host(error: BaseException) -> bool:
    """Whether the process or the network at the other end of a collective is gone."""
    return isinstance(error, LostHostError) or (
        type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        and any(library in str(error) for library in ("Gloo", "NCCL", "coordination_service"))
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether this computer or an accelerator had no memory left."""
    return isinstance(error, MemoryError) or (
        type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        and "RESOURCE_EXHAUSTED" in str(error)
    )
