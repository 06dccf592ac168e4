"""How a training process is started and how it is asked to stop. Standard library only."""

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
