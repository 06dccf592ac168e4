"""The errors of a command and their exit codes. A user's mistake never shows a traceback."""

from data.errors import DataConfigError, DataError
from models.config import ConfigError

LOST_HOST = 6
"""The exit code of a process that has lost another process of its run."""
LOST_HOST_MESSAGE = (
    "another process of this run is gone, and its share of the state with it; start all of them "
    "again with the same command, without --fresh: the run resumes from its newest checkpoint"
)


class CheckpointError(Exception):
    """A checkpoint is missing, damaged or of another model. Exit code 3."""


class WorkdirError(Exception):
    """A workdir cannot be written. Exit code 2."""


class DivergedError(Exception):
    """A step diverged, and the policy ends the run. Exit code 4."""


class OutOfMemoryError(Exception):
    """The devices have too little memory for a step; the message has remedies. Exit code 5."""


class StoppedError(Exception):
    """The run ended before its last step, and its state is saved.

    Exit code 130 (Ctrl-C), 75 (SIGTERM) or 76 (--max-hours).
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class OtherHostError(Exception):
    """Another process of the run has failed; this one exits with the same exit code."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class LostHostError(OtherHostError):
    """A process of the run did not join (exit code 2) or is gone (6); nobody waits for it."""


class StartedRunError(Exception):
    """A run that this command started has failed; the command exits with the run's exit code."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class MismatchError(Exception):
    """Runs that should be equal differ. Exit code 7."""


_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, 2),
    (DataConfigError, 2),
    (WorkdirError, 2),
    (DataError, 3),
    (CheckpointError, 3),
    (DivergedError, 4),
    (OutOfMemoryError, 5),
    (MismatchError, 7),
)


def exit_code(error: Exception) -> int | None:
    """Return the exit code for `error`; None for an internal error, which shows its traceback.

    0 done, 1 internal error, 2 usage or config, 3 data or checkpoint missing or damaged,
    4 diverged, 5 out of memory, 6 another process of the run is gone, 7 runs that should be equal
    differ; with the state saved: 75 stopped by a pre-emption, 76 the --max-hours are over, 130
    stopped by Ctrl-C.
    """
    if isinstance(error, StoppedError | OtherHostError | StartedRunError):
        return error.exit_code
    if is_lost_host(error):
        return LOST_HOST
    if is_out_of_memory(error):
        return 5
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), None)


def message(error: Exception) -> str:
    """Return the message for a person, who should never see XLA's own dump of its buffers."""
    if is_lost_host(error) and not isinstance(error, LostHostError):
        return f"{LOST_HOST_MESSAGE} ({str(error).splitlines()[0][:200]})"
    if not is_out_of_memory(error):
        return str(error)
    return (
        f"out of memory ({out_of_memory_reason(error)}); in this order, try "
        "--execution.remat=full, --micro-batches=auto (zoo.evaluate: a smaller "
        "--batch-tokens), or more devices along --mesh.fsdp"
    )


def out_of_memory_reason(error: Exception) -> str:
    """Return the first line of XLA's message, which holds the numbers."""
    # Python's own MemoryError has no message.
    first_line = (str(error).splitlines() or ["of this computer, not of an accelerator"])[0]
    return first_line.removeprefix("RESOURCE_EXHAUSTED: ")[:200]


def is_lost_host(error: BaseException) -> bool:
    """Return True if the process or the network at the other end of a collective is gone."""
    return isinstance(error, LostHostError) or (
        type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        and any(library in str(error) for library in ("Gloo", "NCCL", "coordination_service"))
    )


def is_out_of_memory(error: Exception) -> bool:
    """Return True if this computer or an accelerator had no memory left."""
    return isinstance(error, MemoryError) or (
        type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        and "RESOURCE_EXHAUSTED" in str(error)
    )
