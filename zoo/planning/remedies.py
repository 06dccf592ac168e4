"""Messages about a step that needs too much memory: where the memory goes, and what to change."""

import dataclasses
from typing import NamedTuple

from configs.experiment import Experiment
from models.config import ConfigError
from zoo.distribution.sharding import mesh_flags, rows_per_pass
from zoo.planning import memory
from zoo.planning.hardware import GIB
from zoo.planning.search import divisors, mesh_shapes, with_micro_batches
from zoo.planning.serving import ServingPlan
from zoo.planning.training import TrainingPlan

NUM_REMEDIES = 3


class Change(NamedTuple):
    """Flags, and the run that they make."""

    flags: str
    experiment: Experiment
    shape: dict[str, int]


def plan_message(plan: TrainingPlan | ServingPlan) -> str:
    """Return what to tell a person whose plan does not fit."""
    hbm_bytes = plan.topology.chip.hbm_bytes
    match plan:
        case ServingPlan():
            smaller = "  --weights=int8\n" if plan.weights == "run" else ""
            return (
                f"it does not fit ({plan.refusal or 'by the estimate'}); in this order, try\n"
                f"  --decode-batch={max(1, plan.batch_size // 2)}\n"
                f"{smaller}  --mesh.tensor={2 * plan.shape['tensor']}\n"
                "  more devices in --topology"
            )
        case TrainingPlan():
            return training_message(
                plan.experiment,
                plan.shape,
                plan.refusal or f"{hbm_bytes / GIB:.2f} GiB per device, by the estimate",
                hbm_bytes=hbm_bytes,
                num_slices=plan.topology.num_slices,
            )


def training_message(
    experiment: Experiment,
    shape: dict[str, int],
    reason: str,
    *,
    hbm_bytes: float = 0,
    num_slices: int = 1,
) -> str:
    """Return where the memory of a train step goes, and three remedies.

    Args:
      hbm_bytes: memory of one device; 0 if it is not known.
    """
    needed = memory.estimate_training(experiment, shape)
    parts = ", ".join(f"{part} {size / GIB:.2f}" for part, size in needed.parts().items() if size)
    lines = "\n".join(f"  {line}" for line in remedies(experiment, shape, hbm_bytes, num_slices))
    return (
        f"out of memory ({reason}); a step needs about {needed.total / GIB:.2f} GiB per device: "
        f"{parts}; in this order, try\n{lines}"
    )


def remedies(
    experiment: Experiment, shape: dict[str, int], hbm_bytes: float = 0, num_slices: int = 1
) -> list[str]:
    """Return three changes, as flags with the bytes that each is estimated to need.

    Changes that keep the batch come first. Of each kind there is one: the mildest that fits
    `hbm_bytes`, or else the one that saves most.
    """
    rows = experiment.batch_size // (shape["data"] * shape["fsdp"])
    full = dataclasses.replace(experiment.execution, remat="full")
    recompute = dataclasses.replace(experiment, execution=full)
    flag = "--micro-batches" if shape["pipeline"] == 1 else "--mesh.pipeline-micro-batches"
    kinds = (
        [Change("--execution.remat=full", recompute, shape)],
        [
            Change(f"{flag}={n}", with_micro_batches(experiment, n, shape), shape)
            for n in divisors(rows)
        ],
        [Change(mesh_flags(other), experiment, other) for other in mesh_shapes(shape, num_slices)],
    )
    before = memory.estimate_training(experiment, shape).total
    ranked: list[tuple[int, str]] = []
    for changes in kinds:
        smaller = [(size, flags) for size, flags in _sizes(changes) if size < before]
        if smaller:
            mildest = next((option for option in smaller if option[0] <= hbm_bytes), min(smaller))
            ranked.append(mildest)
    ranked.sort()
    if rows_per_pass(experiment, shape) % (2 * shape["data"] * shape["fsdp"]) == 0:
        halved = dataclasses.replace(
            experiment, batch_tokens=experiment.batch_tokens // 2, batch_ramp=None
        )
        size = memory.estimate_training(halved, shape).total
        ranked.append((size, f"--batch-tokens={halved.batch_tokens}"))
    lines = [f"{flags} (about {size / GIB:.2f} GiB)" for size, flags in ranked]
    return [*lines, "more devices along --mesh.fsdp"][:NUM_REMEDIES]


def _sizes(changes: list[Change]) -> list[tuple[int, str]]:
    """Return the estimated bytes and the flags of the changes that are possible on their mesh."""
    sizes = []
    for change in changes:
        try:
            size = memory.estimate_training(change.experiment, change.shape).total
        except ConfigError:
            continue
        sizes.append((size, change.flags))
    return sizes
