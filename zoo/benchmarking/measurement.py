"""Measurements: repeats of the zoo's side and, in turn with them, of another library's."""

import contextlib
from collections.abc import Callable

from models.config import check
from zoo.benchmarking import startup
from zoo.benchmarking.figures import figures_of
from zoo.benchmarking.machine import MemoryBandwidth, commit, hardware, versions
from zoo.benchmarking.processes import Measured, started
from zoo.benchmarking.results import Result
from zoo.benchmarking.workload import Workload


def measure(
    name: str,
    workload: Workload,
    *,
    against: str | None,
    repeats: int,
    report: Callable[[str], None],
) -> Result:
    """Measure one workload of the model `name`.

    Raises ConfigError if the other side cannot do the same, and StartedRunError with the message
    and the exit code of a process that failed.

    Args:
      against: the other side, `transformers`; None measures the zoo alone.
      report: shows a line of progress.
    """
    bandwidths: list[float] = []
    other: Measured | None = None
    if workload.what == "startup":
        own = startup.measure(workload, repeats, report)
    else:
        own, other = _in_turn(workload, against, repeats, report, bandwidths)
    figures = figures_of(own, bandwidths)
    their_figures = None
    if other is not None:
        other.device = own.device
        their_figures = figures_of(other, bandwidths)
    return Result(
        model=name,
        workload=own.workload,
        hardware=hardware(own.device),
        versions=versions(),
        commit=commit(),
        repeats=repeats,
        figures=figures,
        against=against,
        their_figures=their_figures,
        bandwidths=tuple(bandwidths),
    )


def _in_turn(
    workload: Workload,
    against: str | None,
    repeats: int,
    report: Callable[[str], None],
    bandwidths: list[float],
) -> tuple[Measured, Measured | None]:
    """Measure in processes, one repeat of each side after the other; append to `bandwidths`."""
    what = workload.what
    with contextlib.ExitStack() as stack:
        shares_device = against is not None
        ours = stack.enter_context(started("zoo", workload, shares_device=shares_device))
        workers = [ours]
        device, workload = ours.measured.device, ours.measured.workload
        report(f"{what}: {workload.describe()}; first call {ours.measured.first_s:.1f} s")
        if against is not None:
            check(
                device["num_devices"] == 1,
                f"--against={against} compares one device, and the mesh has "
                f"{device['num_devices']}; leave out --mesh and --fake-devices",
            )
            side = started("transformers", workload, platform=device["platform"])
            workers.append(stack.enter_context(side))
            report(f"{what}: {against}'s first call {workers[1].measured.first_s:.1f} s")
        meter = None
        if what == "decode" and device["platform"] == "cpu":
            meter = MemoryBandwidth()
        for worker in workers:
            worker.warm_up()
        for number in range(repeats):
            for worker in workers:
                worker.repeat()
            if meter is not None:
                bandwidths.append(meter.measure())
            report(f"{what}: {number + 1} of {repeats}")
    return ours.measured, workers[1].measured if against is not None else None
