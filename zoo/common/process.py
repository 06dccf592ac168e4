"""The start and the end of a process. Standard library only."""

import ctypes
import os
import platform
import signal
import sys
from typing import ClassVar

MALLOC_TUNABLES = (
    "glibc.malloc.hugetlb=1"
    ":glibc.malloc.mmap_threshold=17179869184"
    ":glibc.malloc.trim_threshold=34359738368"
)
"""Settings that make glibc keep freed memory, in huge pages.

On a CPU, XLA allocates its temporaries with malloc at every step and frees them after it. With
glibc's defaults every step pays for fresh pages again.
"""


def keep_freed_memory() -> None:
    """Restart this process once with MALLOC_TUNABLES set, if it runs on glibc.

    glibc reads its tunables only when a process starts. A GLIBC_TUNABLES that is already set is
    left as it is. Call this only as the first line of a program: a program that merely imports the
    zoo must not be restarted.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC_TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class AbortHandler:
    """A handler that turns abort(), in a run of several processes, into a message and an exit code.

    JAX calls abort() when processes lose contact, and Python's own signal handlers never see it.
    JAX also calls it when this process alone ends because of an error; `expect` then sets the exit
    code of that error. The state belongs to the class, since a signal has one handler per process.
    """

    _code: ClassVar[int] = 1
    _message: ClassVar[str] = ""

    @classmethod
    def install(cls, code: int, message: str) -> None:
        """From now on, let abort() print `message` to stderr and exit with `code`."""
        cls.expect(code, message)
        ctypes.CDLL(None).signal(signal.SIGABRT, cls._handle)

    @classmethod
    def expect(cls, code: int, message: str = "") -> None:
        """Set the outcome of an abort(), for a process that is about to exit with `code` anyway."""
        cls._code, cls._message = code, message

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    @staticmethod
    def _handle(_: int) -> None:
        os.write(2, AbortHandler._message.encode())
        os._exit(AbortHandler._code)
