"""Start the processes of one run, each with CPU devices of its own, connected by Gloo."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from zoo.runs.metrics import read_metrics

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 240.0
"""Only reached when something hangs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The processes of one command, as a launcher on each host starts them."""

    workdir: Path
    """The workdir of a run."""
    processes: list[subprocess.Popen[str]]

    def signal(self, process_id: int, number: signal.Signals, *, at_step: int) -> None:
        give_up_at_s = time.monotonic() + DEADLINE_S
        while not any(row["step"] >= at_step for row in read_metrics(self.workdir)):
            if self.processes[process_id].poll() is not None or time.monotonic() > give_up_at_s:
                break
            time.sleep(0.02)
        self.processes[process_id].send_signal(number)

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, stdout and stderr of each."""
        ends = []
        for process in self.processes:
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
            ends.append((process.returncode, stdout, stderr))
        return ends


def job(
    workdir: Path, *flags: str, size: int = 2, devices: int = 2, own_flags: tuple[str, ...] = ()
) -> contextlib.AbstractContextManager[Job]:
    """`size` processes that train with the same flags; the last has `own_flags` besides."""
    return command(
        "zoo.train", workdir, f"--workdir={workdir}", *flags,
        size=size, devices=devices, own_flags=own_flags,
    )  # fmt: skip


@contextlib.contextmanager
def command(
    module: str,
    workdir: Path,
    *flags: str,
    size: int = 2,
    devices: int = 2,
    own_flags: tuple[str, ...] = (),
) -> Iterator[Job]:
    """`size` processes of one command of the zoo; the last has `own_flags` besides."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Only the first process writes the compilation cache, so the others must compile quickly.
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    processes = []
    for process_id in range(size):
        distributed = [
            f"--distributed.coordinator=127.0.0.1:{port}",
            f"--distributed.num-processes={size}",
            f"--distributed.process-id={process_id}",
        ] * (size > 1)
        line = [
            sys.executable,
            "-m",
            module,
            *flags,
            *distributed,
            f"--fake-devices={devices}",
            "--json",
            *(own_flags if process_id == size - 1 else ()),
        ]
        processes.append(
            subprocess.Popen(
                line,
                cwd=REPOSITORY,
                env=environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    try:
        yield Job(workdir, processes)
    finally:
        for process in processes:
            process.kill()
