"""How a training process is started and how it is asked to stop. Standard library only."""

import ctypes
import os
import platform
import signal
import sys
from types import FrameType
from typing import ClassVar, Self

MALLOC_TUNABLES = (
    "glibc.malloc.hugetlb=1"
    ":glibc.malloc.mmap_threshold=17179869184"
    ":glibc.malloc.trim_threshold=34359738368"
)
"""XLA on a CPU takes its temporaries from malloc at every step and frees them after it. With glibc's
defaults each step pays for fresh pages again; these keep the pages, in huge ones."""


def keep_freed_memory() -> None:
    """Start this process anew with MALLOC_TUNABLES, once, where there is a glibc to read them.

    They are read when a process starts, so there is no later place. A GLIBC_TUNABLES that is already
    set is respected. For a program's first line only: whoever imports the program must not be replaced.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC_TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


LOST_HOST = 6
LOST_HOST_MESSAGE = (
    "another process of this run is gone, and its share of the state with it; start all of them again "
    "with the same command, without --fresh: the run goes on from its newest checkpoint"
)


class AbortExit:
    """What a process of a run on several hosts does instead of abort().

    JAX calls that where the processes can no longer talk to each other, past all of Python's own signal
    handlers: also when this process ends for a reason of its own and the others do not.
    """

    code: ClassVar[int] = LOST_HOST
    """To exit with."""
    message: ClassVar[str] = f"error: {LOST_HOST_MESSAGE}\n"
    """The last words, for stderr."""

    @classmethod
    def install(cls) -> None:
        """From now on abort() prints `message` and exits with `code`."""
        ctypes.CDLL(None).signal(signal.SIGABRT, cls._handler)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    @staticmethod
    def _handler(_: int) -> None:
        os.write(2, AbortExit.message.encode())
        os._exit(AbortExit.code)


class StopRequest:
    """Notes SIGINT (Ctrl-C) and SIGTERM (pre-emption) while its block runs, so that the loop can save
    and leave between two steps. A second Ctrl-C stops at once."""

    EXIT_CODES: ClassVar = {signal.SIGINT: 130, signal.SIGTERM: 75}

    def __init__(self):
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in self.EXIT_CODES}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        assert self.signal is not None
        return self.EXIT_CODES[self.signal]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
