"""The process that trains the runs of a study one after the other; `workers` starts it.

It reads one request a line from standard input and answers each with a JSON object on standard
output. If standard input ends, the study has: the run under way saves its state and stops.
"""

import contextlib
import json
import math
import os
import queue
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from configs.experiment import Experiment
from zoo.ablation.study import Trained
from zoo.common.errors import DivergedError, exit_code, message
from zoo.common.serialize import from_json

Train = Callable[[Experiment, Path], Any]
"""`zoo.train.train`."""

CURVE_POINTS = 40
LOG = "log.txt"


def trained(train: Train, experiment: Experiment, workdir: Path) -> Trained:
    """Train or resume a run; its output goes to LOG in its workdir."""
    import jax

    from zoo.distribution.devices import describe_devices
    from zoo.runs.metrics import read_metrics

    start_s = time.monotonic()
    workdir.mkdir(parents=True, exist_ok=True)
    bits, speed = None, None
    with (workdir / LOG).open("a") as log, contextlib.redirect_stderr(log):
        try:
            result = train(experiment, workdir)
            bits, speed = result.evaluation["eval/bits_per_byte"], result.tokens_per_s
        except DivergedError:
            pass  # a result, too: the peak is too high
    losses = [(int(row["step"]), row["train/loss"]) for row in read_metrics(workdir)]
    losses = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    return Trained(
        bits_per_byte=bits,
        tokens_per_s=speed,
        seconds=time.monotonic() - start_s,
        curve=thinned(losses),
        device=f"{describe_devices()}, jax {jax.__version__}",
    )


def thinned(points: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Return at most CURVE_POINTS points: the last step and the mean of as many neighbours each."""
    every = max(1, -(-len(points) // CURVE_POINTS))
    groups = (points[first : first + every] for first in range(0, len(points), every))
    return tuple((group[-1][0], statistics.fmean(y for _, y in group)) for group in groups)


def serve(train: Train, requests: TextIO, answers: TextIO) -> None:
    """Answer every line until the input ends."""
    from zoo.common.compiled import release_programs

    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            lines.put(line)
        lines.put("")
        os.kill(os.getpid(), signal.SIGTERM)  # the run notes it, saves and stops

    threading.Thread(target=read, daemon=True).start()
    while line := lines.get():
        request = json.loads(line)
        try:
            experiment = from_json(request["experiment"])
            answer = asdict(trained(train, experiment, Path(request["workdir"])))
        except Exception as error:  # whatever `message` has words for; anything else ends this
            code = exit_code(error)
            if code is None:
                raise
            answer = {"error": message(error), "code": code}
        release_programs()  # each variant has its own, and a study may have hundreds
        try:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        except BrokenPipeError:  # the study was killed
            return


def main(train: Train) -> None:
    """Serve the process that started this one, on the cores that the first argument names."""
    if len(sys.argv) > 1:  # before JAX counts them
        os.sched_setaffinity(0, set(map(int, sys.argv[1].split(","))))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(train, sys.stdin, answers)
