"""Runs of `python -m zoo.train` in processes of their own: this one takes no accelerator."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from zoo.checkpoints import checkpoint
from zoo.common.errors import LOST_HOST, StartedRunError
from zoo.common.folders import writing


@dataclass(frozen=True)
class Launcher:
    """A starter of runs with the same flags, each in a folder of its own below `folder`."""

    folder: Path
    flags: Sequence[str]
    """The flags of `zoo.train` that all runs share; those of one run come after them."""
    report: Callable[[str], None]
    """A function that shows a line of progress."""

    def train(self, name: str, num_steps: int, *flags: str, num_hosts: int = 1) -> Path:
        """Train the run `name` until `num_steps`, from where it stopped, and return its workdir.

        Raises StartedRunError, with the run's message and exit code, if it fails.
        """
        workdir = self.folder / name
        hosts = f" on {num_hosts} hosts" if num_hosts > 1 else ""
        self.report(f"{name}: to step {num_steps}{hosts} {' '.join(flags)}".rstrip())
        command = [sys.executable, "-m", "zoo.train", *self.flags, f"--workdir={workdir}"]
        command += [f"--num-steps={num_steps}", *flags]
        processes, logs = [], []
        with writing(self.folder), ExitStack() as stack:
            for number, identity in enumerate(_identities(num_hosts)):
                logs.append(self.folder / f"{name}-{num_steps}-{number}.log")
                log = stack.enter_context(logs[-1].open("w"))
                processes.append(subprocess.Popen([*command, *identity], stdout=log, stderr=log))
                stack.callback(processes[-1].kill)  # an error or Ctrl-C here ends it too
            codes = [process.wait() for process in processes]
        # A process that has lost another one does not know why.
        for code, log in sorted(zip(codes, logs, strict=True), key=lambda end: end[0] == LOST_HOST):
            if code != 0:
                raise StartedRunError(
                    f"the run {name} failed: {_message(log)} (its output is in {log})",
                    code if code > 0 else 1,
                )
        return workdir

    def copy(self, workdir: Path, name: str, step: int) -> None:
        """Copy a run as it was after `step`, to go on with it as the run `name`."""
        with writing(self.folder):
            shutil.copytree(workdir, self.folder / name)
            checkpoint.delete_after(self.folder / name, step)


def _identities(num_hosts: int) -> list[list[str]]:
    """Return the flags by which the processes of a run differ."""
    if num_hosts == 1:
        return [["--distributed.num-processes=1"]]  # alone, whatever a cluster says
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        [
            f"--distributed.coordinator=127.0.0.1:{port}",
            f"--distributed.num-processes={num_hosts}",
            f"--distributed.process-id={number}",
        ]
        for number in range(num_hosts)
    ]


def _message(log: Path) -> str:
    """Return the message with which a process ended, or else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    messages = [line for line in lines if line.startswith(("error: ", "stopped: "))]
    return [*messages, *lines[-1:], "it was silent"][0].removeprefix("error: ")
