"""The mesh that `--mesh=auto` chooses: among those that fit, the one that communicates least."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Protocol

from configs.experiment import Experiment, Mesh
from models.config import ConfigError
from zoo.distribution import sharding
from zoo.planning.accumulation import USABLE, fewest_bytes
from zoo.planning.hardware import GIB
from zoo.planning.search import LARGEST_TENSOR

LARGEST = {"tensor": LARGEST_TENSOR, "sequence": 16, "pipeline": 64}
"""Longest axes: beyond these, devices would mostly communicate or wait."""


class Use(Protocol):
    """The work for which a mesh is chosen."""

    @property
    def noun(self) -> str:
        """The work in words, as the subject of `needs`."""
        ...

    def num_bytes(
        self, experiment: Experiment, shape: dict[str, int], device_bytes: float
    ) -> float:
        """Return the bytes that one device needs. Raises ConfigError if the model does not divide.

        Args:
          device_bytes: memory of one device.
        """
        ...

    def order(self, meshes: Iterator[Mesh]) -> Iterator[Mesh]:
        """Return the meshes, the preferred ones first.

        They come with as many copies of the model (`data`) as possible first. Then `fsdp`,
        `tensor`, `sequence` and `pipeline` grow, in this order.
        """
        ...


class Training:
    """A train step. Copies of the model come first."""

    noun = "a step"

    def num_bytes(
        self, experiment: Experiment, shape: dict[str, int], device_bytes: float
    ) -> float:
        """Return the bytes of the step with the fewest micro-batches."""
        return fewest_bytes(experiment, shape, device_bytes)

    def order(self, meshes: Iterator[Mesh]) -> Iterator[Mesh]:
        """Return the meshes as they come."""
        return meshes


TRAINING = Training()


def choose(
    experiment: Experiment,
    num_devices: int,
    device_bytes: float,
    neighbours: int,
    use: Use = TRAINING,
) -> tuple[Mesh, str]:
    """Return a mesh over all devices, and the reason for it as a line of text.

    Axes that the experiment sets keep their size. Of the others, it is the first in the order of
    the use that fits and over which the batch and the model divide. If the batch has too few
    sequences for a micro-batch per stage of a pipeline, the mesh has fewer micro-batches. Raises
    ConfigError if the batch and the model divide over no mesh of all devices.

    Args:
      experiment: a resolved experiment; its remat policy and batch stay as they are, and so do its
        micro-batches unless they are `auto`.
      device_bytes: memory of one device.
      neighbours: devices that fast links join: a TPU slice or the GPUs of a host. `tensor` and
        `sequence` stay within them.
    """
    too_large: list[tuple[float, Mesh]] = []
    refusal = ""
    for mesh in use.order(_meshes(experiment.mesh, num_devices, neighbours)):
        shape = sharding.mesh_shape(mesh, num_devices)
        candidate = dataclasses.replace(experiment, mesh=mesh)
        try:
            needed = use.num_bytes(candidate, shape, device_bytes)
        except ConfigError as error:
            refusal = refusal or str(error)
            continue
        if needed <= USABLE * device_bytes:
            return mesh, _reason(use, mesh, needed, device_bytes, too_large, refusal)
        too_large.append((needed, mesh))
    if not too_large:
        raise ConfigError(f"--mesh=auto finds no mesh of {num_devices} devices: {refusal}")
    needed, mesh = min(too_large, key=lambda size_and_mesh: size_and_mesh[0])
    return mesh, (
        f"{_flags(mesh)}: no mesh of {num_devices} devices is expected to fit; this one needs the "
        f"least, about {needed / GIB:.2f} of {device_bytes / GIB:.2f} GiB per device"
    )


def _meshes(given: Mesh, num_devices: int, neighbours: int) -> Iterator[Mesh]:
    """Yield the meshes that keep the given axes, the preferred ones first."""

    def lengths(axis: str) -> list[int]:
        length = getattr(given, axis)
        if length is not None:
            return [length]
        largest = min(LARGEST.get(axis, num_devices), num_devices)
        return [n for n in range(1, largest + 1) if num_devices % n == 0]

    for pipeline, sequence, tensor, fsdp in itertools.product(
        *map(lengths, ("pipeline", "sequence", "tensor", "fsdp"))
    ):
        others = pipeline * sequence * tensor * fsdp
        is_near = given.tensor or given.sequence or neighbours % (tensor * sequence) == 0
        data = given.data or num_devices // others
        if is_near and data * others == num_devices:
            yield Mesh(
                data=data,
                fsdp=fsdp,
                tensor=tensor,
                sequence=sequence,
                pipeline=pipeline,
                pipeline_micro_batches=given.pipeline_micro_batches,
            )


def _reason(
    use: Use,
    mesh: Mesh,
    needed: float,
    device_bytes: float,
    too_large: list[tuple[float, Mesh]],
    refusal: str,
) -> str:
    reason = (
        f"{_flags(mesh)}: {use.noun} needs about {needed / GIB:.2f} of "
        f"{device_bytes / GIB:.2f} GiB per device"
    )
    if too_large:
        size, previous = too_large[-1]
        return f"{reason}; {_flags(previous)} would need {size / GIB:.2f}"
    if refusal:
        return f"{reason}; on a simpler mesh, {refusal.partition(';')[0]}"
    return reason


def _flags(mesh: Mesh) -> str:
    axes = {axis: getattr(mesh, axis) for axis in sharding.AXES}
    return sharding.mesh_flags(axes) or "--mesh.data=1"
