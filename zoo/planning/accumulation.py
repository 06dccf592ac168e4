"""The micro-batches that `--micro-batches=auto` chooses: the fewest with which a step fits."""

import dataclasses
from collections.abc import Iterator, Mapping

from configs.experiment import Experiment
from zoo.planning import memory
from zoo.planning.hardware import GIB
from zoo.planning.search import divisors

USABLE = 0.9
"""Share of a device's memory that an estimate may fill: the estimate is no more exact than that."""


def choose(
    experiment: Experiment, shape: Mapping[str, int], device_bytes: float
) -> tuple[Experiment, str]:
    """Return the experiment with its micro-batches decided, and the reason as a line of text.

    The batch is the recipe's: only the slices in which it is computed follow from the devices. If
    none is small enough, they are as small as they can be. Raises ConfigError if the model or the
    batch does not divide over the mesh.

    Args:
      shape: the devices along each axis of the mesh.
      device_bytes: memory of one device.
    """
    tried = list(_tried(experiment, shape, device_bytes))
    chosen, needed = tried[-1]
    reason = (
        f"{chosen.num_micro_batches} of {chosen.batch_size // chosen.num_micro_batches} sequences: "
        f"a step needs about {needed / GIB:.2f} of {device_bytes / GIB:.2f} GiB per device"
    )
    if needed > USABLE * device_bytes:
        reason += ", and is not expected to fit"
    elif len(tried) > 1:
        fewer, larger = tried[-2]
        reason += f"; {fewer.num_micro_batches} would need {larger / GIB:.2f}"
    return chosen, reason


def fewest_bytes(experiment: Experiment, shape: Mapping[str, int], device_bytes: float) -> int:
    """Return the bytes of a step per device, with micro-batches as `choose` decides if it may.

    Raises ConfigError as `choose` does.
    """
    if experiment.micro_batches != "auto":
        return memory.estimate_training(experiment, dict(shape)).total
    *_, (_, needed) = _tried(experiment, shape, device_bytes)
    return needed


def _tried(
    experiment: Experiment, shape: Mapping[str, int], device_bytes: float
) -> Iterator[tuple[Experiment, int]]:
    """Yield experiments of more and more micro-batches, with their bytes, until one fits."""
    ways = shape["data"] * shape["fsdp"] * (experiment.mesh.pipeline_micro_batches or 1)
    for number in divisors(max(1, experiment.batch_size // ways)):
        candidate = dataclasses.replace(experiment, micro_batches=number)
        needed = memory.estimate_training(candidate, dict(shape)).total
        yield candidate, needed
        if needed <= USABLE * device_bytes:
            return
