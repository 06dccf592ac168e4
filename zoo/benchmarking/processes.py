"""The processes that measure: one for each side, asked for repeats in turn."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from zoo.benchmarking.workload import Workload
from zoo.common.errors import StartedRunError
from zoo.common.process import MALLOC_TUNABLES

Side = Literal["zoo", "transformers"]


@dataclass(eq=False)
class Measured:
    """The repeats of one side."""

    workload: Workload
    """The workload as it was on the devices."""
    device: dict[str, Any]
    first_s: float
    """Seconds of the first call, which compiles."""
    seconds: list[dict[str, float]] = field(default_factory=list)
    """The parts of every repeat."""
    peak_bytes: int = 0

    def part(self, name: str) -> tuple[float, ...]:
        """Return the seconds of one part of all repeats."""
        return tuple(each[name] for each in self.seconds)


class Worker:
    """A process that does the work of one side whenever it is told to."""

    def __init__(self, side: Side, process: subprocess.Popen[str], request: dict[str, Any]):
        """Hand over the request, and wait until the first call has compiled everything.

        Raises StartedRunError, with the process' message and exit code, if it fails.
        """
        self._side, self._process = side, process
        answer = self._ask({"side": side, **request})
        workload = Workload.from_json(answer["workload"])
        self.measured = Measured(workload, answer["device"], answer["first_s"])

    def warm_up(self) -> None:
        """Do the work once more without counting it."""
        self._ask({})

    def repeat(self) -> None:
        """Do the work once and keep its seconds. Raises as the constructor."""
        answer = self._ask({})
        self.measured.seconds.append(answer["seconds"])
        self.measured.peak_bytes = answer["peak_bytes"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what ended the process is read below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise StartedRunError(
                f"the process that measures {self._side} ended with code {code}; its output above "
                "says why",
                code if code > 0 else 1,
            )
        answer = json.loads(line)
        if "error" in answer:
            raise StartedRunError(answer["error"], answer["code"])
        return answer


@contextlib.contextmanager
def started(
    side: Side, workload: Workload, *, platform: str = "", shares_device: bool = False
) -> Iterator[Worker]:
    """Yield a worker; its process ends with the block.

    Args:
      platform: JAX's name for the device on which the other side must run.
      shares_device: whether another process uses the device, too.
    """
    environment = dict(os.environ)
    if workload.what == "train":  # what zoo.train does
        environment.setdefault("GLIBC_TUNABLES", MALLOC_TUNABLES)
    if shares_device:  # JAX would take most of a GPU's memory at once
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    process = subprocess.Popen(
        [sys.executable, "-c", "from zoo.benchmarking.worker import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0,  # Ctrl-C is for this process, which ends that one
    )
    with process:
        try:
            request = {"workload": workload.to_json(), "platform": platform}
            yield Worker(side, process, request)
        finally:
            process.kill()  # it has nothing to finish, and an idle one waits for a line
