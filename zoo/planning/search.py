"""The search for the fastest mesh, number of micro-batches and rematerialisation that fit."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from configs.experiment import Experiment
from models.config import ConfigError
from zoo.distribution.devices import choose_attention
from zoo.distribution.sharding import mesh_shape
from zoo.planning.hardware import Topology
from zoo.planning.training import TrainingPlan, plan_training

REMATS = "none", "dots", "narrow", "full"
"""Rematerialisation policies, the one that repeats least first."""
LARGEST_TENSOR = 16
"""Devices that share one matrix product, at most: more would mostly communicate."""
MAX_COMPILED = 3
"""Plans that a search compiles, at most."""


def candidates(experiment: Experiment, topology: Topology) -> Iterator[TrainingPlan]:
    """Yield the estimates of every mesh, number of micro-batches and remat policy.

    Meshes over which the model or the batch does not divide are left out. The pipeline and sequence
    axes stay as the experiment says. Only `data` goes across slices.
    """
    given = mesh_shape(
        dataclasses.replace(experiment.mesh, auto=False, data=None, fsdp=1, tensor=1),
        topology.num_devices,
    )
    # A kernel that cannot serve is an error now, not the reason why no mesh fits.
    choose_attention(experiment, given, topology.chip.device_kind)
    for shape in mesh_shapes(given, topology.num_slices):
        slices = (
            1 if shape["pipeline"] == 1 else experiment.num_micro_batches
        )  # which a search keeps
        rows = experiment.batch_size // slices // (shape["data"] * shape["fsdp"])
        for micro_batches, remat in itertools.product(divisors(rows), REMATS):
            candidate = dataclasses.replace(
                with_micro_batches(experiment, micro_batches, shape),
                execution=dataclasses.replace(experiment.execution, remat=remat),
            )
            try:
                yield plan_training(candidate, topology, shape)
            except ConfigError:
                break  # the model does not divide over this mesh


def search(experiment: Experiment, topology: Topology) -> list[TrainingPlan]:
    """Return the estimates that fit, the fastest first, and among equals the smallest first."""
    plans = [plan for plan in candidates(experiment, topology) if plan.fits]
    return sorted(plans, key=lambda plan: (round(plan.roofline.step_s, 3), plan.bytes.total))


def compile_best(ranked: Sequence[TrainingPlan], report: Callable[[str], None]) -> TrainingPlan:
    """Compile the ranked plans in turn until one fits, but at most MAX_COMPILED of them.

    Returns the last one that was compiled. Calls `report` with a line before each.
    """
    compiled = ranked[0]
    for plan in ranked[:MAX_COMPILED]:
        report(f"compiling {plan.flags}")
        compiled = plan_training(plan.experiment, plan.topology, plan.shape, "quick")
        if compiled.fits:
            break
    return compiled


def mesh_shapes(shape: dict[str, int], num_slices: int) -> Iterator[dict[str, int]]:
    """Yield every division of the same devices among data, fsdp and tensor.

    Only data goes across slices.
    """
    num_devices = math.prod(shape[axis] for axis in ("data", "fsdp", "tensor"))
    per_slice = max(1, num_devices // num_slices)
    for tensor in divisors(per_slice):
        if tensor > LARGEST_TENSOR:
            break
        for fsdp in divisors(per_slice // tensor):
            data = num_devices // (tensor * fsdp)
            yield shape | {"data": data, "fsdp": fsdp, "tensor": tensor}


def with_micro_batches(
    experiment: Experiment, micro_batches: int, shape: dict[str, int]
) -> Experiment:
    """Return the experiment with its batch in `micro_batches` micro-batches.

    They go through the pipeline if the mesh has one; otherwise their gradients are accumulated.
    """
    if shape["pipeline"] == 1:
        return dataclasses.replace(experiment, micro_batches=micro_batches)
    mesh = dataclasses.replace(experiment.mesh, pipeline_micro_batches=micro_batches)
    return dataclasses.replace(experiment, mesh=mesh)


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, the smallest first."""
    return [n for n in range(1, number + 1) if number % n == 0]
