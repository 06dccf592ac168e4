"""The hardware and the software that a measurement depends on."""

import importlib.metadata
import platform
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from data.tokens.encoding import num_cores

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "transformers")
ARRAY_BYTES = 2**28
"""Memory that each core reads to measure the bandwidth: more than a cache holds."""
ROUNDS = 2


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed PACKAGES."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of this source, with `+` after it if files differ; None outside of git."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """Return the name of this computer's processor and the cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{[*names, name][0]}, {num_cores()} cores"


class MemoryBandwidth:
    """A meter of the bytes per second that this computer's cores read from memory."""

    def __init__(self):
        """Fill an array for each core, which no cache holds."""
        self._arrays = [np.ones(ARRAY_BYTES // 4, np.int32) for _ in range(num_cores())]

    def measure(self) -> float:
        """Return the best of a few readings, by one core alone or by all of them together."""
        with ThreadPoolExecutor(len(self._arrays)) as pool:
            return max(self._read(pool, n) for n in (1, len(self._arrays)) for _ in range(ROUNDS))

    def _read(self, pool: ThreadPoolExecutor, cores: int) -> float:
        start_s = time.perf_counter()
        list(pool.map(np.max, self._arrays[:cores]))  # the fastest of NumPy's reductions
        return cores * ARRAY_BYTES / (time.perf_counter() - start_s)


def hardware(device: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that say on what was measured, from those of the measuring process."""
    return {"processor": processor(), **device}
