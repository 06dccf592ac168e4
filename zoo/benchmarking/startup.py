"""The seconds from a command line to its first output, each command as a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from zoo.benchmarking.ours import random_prompts, write_random_checkpoint
from zoo.benchmarking.processes import Measured, started
from zoo.benchmarking.workload import Workload
from zoo.common.errors import StartedRunError


def measure(workload: Workload, repeats: int, report: Callable[[str], None]) -> Measured:
    """Time `zoo.train --help`, and `zoo.sample` of one token with and without compiled programs.

    The model has random weights. Raises StartedRunError if a command fails.
    """
    with started("zoo", workload) as worker:  # which frees the device before the commands start
        measured = worker.measured
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as temporary:
        folder = Path(temporary)
        write_random_checkpoint(measured.workload.experiment, folder / "model")
        prompt = [str(token) for token in random_prompts(measured.workload)[0]]
        sample = ["zoo.sample", f"--checkpoint={folder / 'model'}", "--max-tokens=1"]
        sample += ["--ids", *prompt]
        for number in range(repeats):
            cache = folder / f"cache-{number}"
            measured.seconds.append(
                {
                    "help_s": _seconds(["zoo.train", "--help"], cache),
                    "first_token_cold_s": _seconds(sample, cache),
                    "first_token_warm_s": _seconds(sample, cache),
                }
            )
            report(f"startup: {number + 1} of {repeats}")
    return measured


def _seconds(command: list[str], cache: Path) -> float:
    """Run `python -m COMMAND` with its own compilation cache."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    start_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, check=False
    )
    taken_s = time.perf_counter() - start_s
    if done.returncode:
        raise StartedRunError(
            f"python -m {command[0]} ended with code {done.returncode}; its output above says why",
            done.returncode if done.returncode > 0 else 1,
        )
    return taken_s
