"""The compiled programs that a process holds."""

import gc
from pathlib import Path

import jax

_MAPPINGS = Path("/proc/self/maps")
_LIMIT = Path("/proc/sys/vm/max_map_count")


def release_programs(share: float = 0.25) -> bool:
    """Release the compiled programs if they take much of what Linux allows; return whether it did.

    On a CPU, each program takes several memory mappings of its process, of which Linux allows
    65,530. A process that needs one more crashes. A program that is called again is compiled
    again, or read from the compilation cache.

    Args:
      share: release them if more than this share of the mappings is taken.
    """
    try:
        limit = int(_LIMIT.read_text())
        with _MAPPINGS.open("rb") as mappings:
            num_mappings = sum(1 for _ in mappings)
    except OSError:  # not Linux
        return False
    if num_mappings < share * limit:
        return False
    jax.clear_caches()
    gc.collect()
    return True
