"""How a process of the zoo starts and how it ends. Standard library only."""

import ctypes
import os
import platform
import signal
import sys
from typing import ClassVar

LOST_HOST = 6
"""Exit code of a process whose peers are gone."""
LOST_HOST_MESSAGE = (
    "another process of this run is gone, and its share of the state with it; start all of them again "
    "with the same command, without --fresh: the run resumes from its newest checkpoint"
)

MALLOC_TUNABLES = (
    "glibc.malloc.hugetlb=1"
    ":glibc.malloc.mmap_threshold=17179869184"
    ":glibc.malloc.trim_threshold=34359738368"
)
"""XLA on a CPU takes its temporaries from malloc at every step and frees them after it. With glibc's
defaults each step pays for fresh pages again; these settings keep the pages, in huge ones."""


def keep_freed_memory() -> None:
    """Replace this process by itself with MALLOC_TUNABLES set, once, where glibc reads them.

    glibc reads them only when a process starts. A GLIBC_TUNABLES that is already set is respected.
    Call this in a program's first line only: a program that imports the zoo must not be replaced.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC_TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class AbortHandler:
    """Replaces abort() in a run of several processes by a message and an exit code.

    JAX calls abort() when processes lose contact, past all of Python's own signal handlers. It does so
    also when this process ends for a reason of its own and the others do not: `expect` then says which.
    """

    _code: ClassVar[int] = LOST_HOST
    _message: ClassVar[str] = f"error: {LOST_HOST_MESSAGE}\n"

    @classmethod
    def install(cls) -> None:
        """From now on abort() prints the message to stderr and exits with the code."""
        ctypes.CDLL(None).signal(signal.SIGABRT, cls._handle)

    @classmethod
    def expect(cls, code: int, message: str = "") -> None:
        """This process is about to exit with `code`: an abort() on the way must not change that."""
        cls._code, cls._message = code, message

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    @staticmethod
    def _handle(_: int) -> None:
        os.write(2, AbortHandler._message.encode())
        os._exit(AbortHandler._code)
