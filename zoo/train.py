"""Train a model: `python -m zoo.train --model=palm_small`, or `train(...)` from a program.

>>> import configs
>>> from zoo.train import train
>>> result = train(configs.get("palm_small"), "runs/palm_small")
"""

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from configs.experiment import Distributed, Experiment
from models.config import check
from zoo.command_line import cli
from zoo.command_line.model_flags import parse_with_model
from zoo.common.process import keep_freed_memory
from zoo.reporting.trackers import TrackerName, check_installed

if TYPE_CHECKING:
    from zoo.reporting.reporter import Reporter
    from zoo.runs.budget import Budget
    from zoo.runs.loop import TrainingResult
    from zoo.runs.report import RunReport
    from zoo.runs.setup import Setup


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """The flags of `python -m zoo.train`, besides those of the experiment."""

    name: tyro.conf.Suppress[str]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    workdir: str
    """Folder of the run: config, metrics, plot, samples and checkpoints. A run in it is resumed."""
    fresh: bool = False
    """Delete the run in the workdir and start over."""
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0 uses the real devices."""
    distributed: Distributed = Distributed()
    num_tokens: float | None = None
    """Train on this many tokens, instead of for --num-steps; the schedule follows."""
    num_flops: float | None = None
    """Train with this many FLOPs (6N + 12LHQT a token), instead of for --num-steps."""
    num_epochs: float | None = None
    """Train for this many passes over the text, instead of for --num-steps."""
    max_hours: float | None = None
    """Save the state and end with exit code 76 after this many hours, which do not change the
    schedule: the same command without --fresh resumes the run, as in the next job of a queue."""
    track: TrackerName | None = None
    """Experiment tracker that gets the metrics and samples besides metrics.jsonl and TensorBoard,
    which are always written. A resumed run goes on in the tracker's same run; one that goes back
    starts another there."""
    json: bool = False
    """Print one JSON object at the end and nothing else on stdout."""


def train(
    experiment: Experiment,
    workdir: str | Path,
    *,
    name: str | None = None,
    fresh: bool = False,
    fake_devices: int = 0,
    distributed: Distributed = Distributed(),
    budget: "Budget | None" = None,
    max_hours: float = math.inf,
    track: TrackerName | None = None,
    flags: Sequence[str] | None = None,
) -> "TrainingResult":
    """Train until `experiment.num_steps`, resuming the run in the workdir if there is one.

    The command calls this function: files, checks and bit-exact resumption are the same. Progress
    goes to stderr. On SIGINT (also a notebook's interrupt) or SIGTERM the state is saved first.

    Args:
      name: the run's name in the output; None: the name of the workdir.
      fresh: delete the run in the workdir and start over.
      fake_devices: rehearse a mesh of this many devices on the CPU; only before JAX is used.
      distributed: how several processes find each other.
      budget: tokens, FLOPs or epochs that take the place of `experiment.num_steps`.
      max_hours: save the state and raise StoppedError after this time.
      track: an experiment tracker besides metrics.jsonl and TensorBoard.
      flags: those of the command line, for printing the command that resumes the run.

    Raises ConfigError, DataError, CheckpointError or WorkdirError for what a user can correct,
    DivergedError, OutOfMemoryError once training starts, and StoppedError after a signal; see
    zoo/common/errors.py.
    """
    from zoo.common import lock
    from zoo.distribution.devices import configure
    from zoo.distribution.join import join
    from zoo.runs import loop
    from zoo.runs.out_of_memory import explained_out_of_memory
    from zoo.runs.report import RunReport
    from zoo.runs.setup import prepare

    deadline_s = time.monotonic() + 3600 * max_hours
    check(max_hours > 0, f"--max-hours={max_hours:g} must be above zero")
    configure(cache_dir=experiment.data.cache_dir, fake_devices=fake_devices)
    folder, report = Path(workdir), RunReport(cli.console, flags=flags)
    hosts = join(distributed, folder, report)
    if not hosts.is_primary:
        report = RunReport(Console(quiet=True))
    hosts.on_primary(lambda: check_installed(track))
    with ExitStack() as stack:
        hosts.on_primary(lambda: stack.enter_context(lock.held(folder, report.line)))
        name = name or folder.absolute().name
        setup = prepare(name, experiment, folder, report, hosts, fresh=fresh, budget=budget)
        setup = replace(setup, deadline_s=deadline_s)
        reporter = _reporter(setup, report, track, flags) if hosts.is_primary else None
        if reporter is not None:
            stack.enter_context(reporter.recorded())
        stack.enter_context(explained_out_of_memory(setup.program))
        return loop.run(setup, report, hosts, reporter)


def _reporter(
    setup: "Setup", report: "RunReport", track: TrackerName | None, flags: Sequence[str] | None
) -> "Reporter":
    """Return the writer of the run record and its page."""
    from zoo.distribution.devices import describe_devices
    from zoo.reporting.record import RunRecord, Start
    from zoo.reporting.reporter import Reporter

    record = RunRecord(setup.name, setup.data.fingerprint, setup.baselines)
    first_step = 0 if setup.resume_from is None else int(setup.resume_from.name)
    start = Start(first_step, None if flags is None else list(flags), describe_devices())
    start.attention = report.kernel
    return Reporter(setup.folder, record, start, report, track)


def main(argv: list[str]) -> None:
    """Train as the flags say; with --json print the summary."""
    command = parse_with_model(
        lambda experiment, name: TrainCommand(
            name=name, experiment=experiment, workdir=f"runs/{name}"
        ),
        argv,
        prog="python -m zoo.train",
        description="Train a model. The same command again resumes the run.",
        takes="all",
    )
    from zoo.runs import budget

    result = train(
        command.experiment,
        command.workdir,
        name=command.name,
        fresh=command.fresh,
        fake_devices=command.fake_devices,
        distributed=command.distributed,
        budget=budget.from_flags(command.num_tokens, command.num_flops, command.num_epochs),
        max_hours=math.inf if command.max_hours is None else command.max_hours,
        track=command.track,
        flags=argv,
    )

    import jax

    if command.json and jax.process_index() == 0:
        print(json.dumps(result.summary()))


if __name__ == "__main__":
    keep_freed_memory()
    cli.run(main)
