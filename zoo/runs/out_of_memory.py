"""The message of a run that needs more memory than its devices have."""

from collections.abc import Iterator
from contextlib import contextmanager

from zoo.common.errors import OutOfMemoryError, is_out_of_memory, out_of_memory_reason
from zoo.distribution.devices import bytes_per_device
from zoo.training.program import Program


@contextmanager
def explained_out_of_memory(program: Program) -> Iterator[None]:
    """Raise OutOfMemoryError, with remedies, if the block runs out of memory."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # Imported late: a run loads the planner only when it needs the advice.
        from zoo.planning.remedies import training_message

        shape = dict(program.mesh.shape)
        reason = out_of_memory_reason(error)
        message = training_message(program.experiment, shape, reason, hbm_bytes=bytes_per_device())
        raise OutOfMemoryError(message) from error
