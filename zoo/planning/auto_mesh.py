"""The mesh that `--mesh=auto` chooses: the one that talks least among those that fit."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

from configs.experiment import Experiment, Mesh
from models.config import ConfigError
from zoo.distribution import sharding
from zoo.planning import memory
from zoo.planning.hardware import GIB

SPARE = 0.9
"""Of a device's memory: the estimate is no more exact than that."""
LARGEST = {"tensor": 16, "sequence": 16, "pipeline": 64}
"""Beyond these an axis would only talk, or wait."""


def choose(
    experiment: Experiment, num_devices: int, device_bytes: float, neighbours: int
) -> tuple[Mesh, str]:
    """A mesh over all devices, and why this one.

    Axes that the experiment gives stay. Of the others, copies of the model (`data`) come first; then
    `fsdp`, `tensor`, `sequence` and `pipeline` are raised in this order, each only as far as it takes
    for the step to fit and for the batch and the model to divide.

    Args:
      experiment: its micro-batches, rematerialisation and batch are taken as they are.
      device_bytes: memory of one device.
      neighbours: devices that fast links join: a TPU slice or the GPUs of a host. `tensor` and `sequence`
        stay among them.

    Raises ConfigError if the model and the batch divide over no mesh of all devices.
    """
    tried: list[tuple[float, Mesh]] = []
    refusal = ""
    for mesh in _meshes(experiment.mesh, num_devices, neighbours):
        shape = sharding.mesh_shape(mesh, num_devices)
        try:
            needed = memory.estimate(dataclasses.replace(experiment, mesh=mesh), shape).total
        except ConfigError as error:
            refusal = refusal or str(error)
            continue
        if needed <= SPARE * device_bytes:
            return mesh, _because(shape, needed, device_bytes, tried, refusal)
        tried.append((needed, mesh))
    if not tried:
        raise ConfigError(f"--mesh=auto finds no mesh of {num_devices} devices: {refusal}")
    needed, mesh = min(tried, key=lambda each: each[0])
    shape = sharding.mesh_shape(mesh, num_devices)
    return mesh, (
        f"{_written(shape)}: no mesh of {num_devices} devices is expected to fit; this one needs least, "
        f"about {needed / GIB:.2f} GiB of a device's {device_bytes / GIB:.2f}"
    )


def _meshes(given: Mesh, num_devices: int, neighbours: int) -> Iterator[Mesh]:
    """Those that keep what is given, in the order of preference."""

    def sizes(axis: str) -> list[int]:
        size = getattr(given, axis)
        if size is not None:
            return [size]
        largest = LARGEST.get(axis, num_devices)
        return [n for n in range(1, min(largest, num_devices) + 1) if num_devices % n == 0]

    for pipeline, sequence, tensor, fsdp in itertools.product(
        *map(sizes, ("pipeline", "sequence", "tensor", "fsdp"))
    ):
        others = pipeline * sequence * tensor * fsdp
        is_near = given.tensor or given.sequence or neighbours % (tensor * sequence) == 0
        data = given.data or num_devices // others
        if is_near and data * others == num_devices:
            yield Mesh(data=data, fsdp=fsdp, tensor=tensor, sequence=sequence, pipeline=pipeline)


def _because(
    shape: dict[str, int],
    needed: float,
    device_bytes: float,
    tried: list[tuple[float, Mesh]],
    refusal: str,
) -> str:
    why = f"a step needs about {needed / GIB:.2f} GiB of a device's {device_bytes / GIB:.2f}"
    if tried:
        before, mesh = tried[-1]
        others = _written(sharding.mesh_shape(mesh, math.prod(shape.values())))
        why += f"; {others} would need {before / GIB:.2f}"
    elif refusal:
        why += f"; with less of a split, {refusal.partition(';')[0]}"
    return f"{_written(shape)}: {why}"


def _written(shape: dict[str, int]) -> str:
    return sharding.mesh_flags(shape) or "--mesh.data=1"
