"""Will a run fit some hardware, and how fast could it be: one plan, and the search among many."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax

from configs.experiment import Experiment
from models.config import ConfigError
from zoo.distribution import sharding
from zoo.errors import OutOfMemoryError, out_of_memory_reason
from zoo.planning import compilation as ahead_of_time
from zoo.planning import memory, roofline
from zoo.planning.collectives import Collective
from zoo.planning.compilation import DoesNotFitError
from zoo.planning.hardware import CHIPS, GIB, Topology
from zoo.planning.memory import Bytes
from zoo.planning.roofline import Roofline

LARGEST_TENSOR = 16
"""No more devices share one matrix product: beyond that they would only talk."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One train step on one mesh."""

    experiment: Experiment
    topology: Topology
    shape: dict[str, int]
    source: Literal["compiled", "estimated"]
    bytes: Bytes
    fits: bool
    refusal: str | None
    """What the compiler said when it found too little memory; the bytes are then the estimate's."""
    collectives: list[Collective]
    flops_per_step: float
    compile_s: float | None
    roofline: Roofline

    def summary(self, name: str) -> dict[str, Any]:
        """What --json prints."""
        return {
            "model": name,
            "topology": self.topology.name,
            "num_slices": self.topology.num_slices,
            "num_devices": self.topology.num_devices,
            "mesh": self.shape,
            "micro_batches": self.experiment.micro_batches,
            "remat": self.experiment.execution.remat,
            "source": self.source,
            "bytes_per_device": dataclasses.asdict(self.bytes) | {"total": self.bytes.total},
            "hbm_bytes": round(self.topology.chip.hbm_bytes),
            "fits": self.fits,
            "refusal": self.refusal,
            "collectives": [dataclasses.asdict(c) for c in self.collectives],
            "flops_per_step": self.flops_per_step,
            "compile_s": self.compile_s,
            "estimate": dataclasses.asdict(self.roofline),
        }


def on_accelerator(experiment: Experiment) -> Experiment:
    """The experiment as zoo.train resolves it there."""
    resolved = experiment.execution.resolve(accelerated=True)
    return dataclasses.replace(experiment, execution=resolved)


def estimate(experiment: Experiment, topology: Topology, shape: dict[str, int]) -> Plan:
    """Without a compiler: for GPUs, where libtpu is missing, and to search."""
    sent = roofline.expected_collectives(experiment, shape, topology.devices_per_island)
    return _plan(experiment, topology, shape, "estimated", memory.estimate(experiment, shape), sent)


def compile(
    experiment: Experiment, topology: Topology, shape: dict[str, int], *, quick: bool = False
) -> Plan:
    """With libtpu; a step that does not fit is a plan too, with the estimate's bytes."""
    try:
        compiled = ahead_of_time.compile_step(experiment, topology, shape, quick=quick)
    except DoesNotFitError as error:
        plan = estimate(experiment, topology, shape)
        return dataclasses.replace(plan, fits=False, refusal=str(error))
    params, optimizer = memory.state_bytes(experiment, shape)
    # Gradients live among the temporaries; the rest of those is activations and what XLA adds.
    gradients = min(params, compiled.temporary_bytes)
    found = Bytes(
        params=params,
        gradients=gradients,
        optimizer=optimizer,
        temporaries=compiled.temporary_bytes - gradients,
        code=compiled.code_bytes,
    )
    plan = _plan(experiment, topology, shape, "compiled", found, compiled.collectives)
    return dataclasses.replace(plan, compile_s=compiled.compile_s)


def _plan(experiment, topology, shape, source, num_bytes: Bytes, sent: list[Collective]) -> Plan:
    state = num_bytes.params + num_bytes.optimizer
    return Plan(
        experiment=experiment,
        topology=topology,
        shape=shape,
        source=source,
        bytes=num_bytes,
        fits=num_bytes.total <= topology.chip.hbm_bytes,
        refusal=None,
        collectives=sent,
        flops_per_step=roofline.flops_per_step(experiment),
        compile_s=None,
        roofline=roofline.estimate(experiment, topology, shape, state, sent),
    )


def candidates(experiment: Experiment, topology: Topology) -> Iterator[Plan]:
    """Estimates for every mesh that the model and the batch divide over, every number of
    micro-batches and every remat policy. Stages of a pipeline and pieces of a sequence stay as many as
    the experiment says. Data parallelism goes across slices."""
    given = sharding.mesh_shape(
        dataclasses.replace(experiment.mesh, auto=False, data=None, fsdp=1, tensor=1),
        topology.num_devices,
    )
    for shape in _shapes(given, topology.num_slices):
        ways = shape["data"] * shape["fsdp"]
        rows = experiment.batch_size // ways
        for micro, remat in itertools.product(_divisors(rows), ("none", "dots", "full")):
            changed = dataclasses.replace(
                experiment,
                micro_batches=micro,
                execution=dataclasses.replace(experiment.execution, remat=remat),
            )
            try:
                yield estimate(changed, topology, shape)
            except ConfigError:
                break  # the model does not divide over this mesh


def search(experiment: Experiment, topology: Topology) -> list[Plan]:
    """The estimates that fit, fastest first; of those as fast, the one that leaves most free."""
    fitting = [plan for plan in candidates(experiment, topology) if plan.fits]
    return sorted(fitting, key=lambda p: (round(p.roofline.step_s, 3), p.bytes.total))


def explained(error: Exception, experiment: Experiment) -> OutOfMemoryError:
    """The same error of a run on this machine's devices, with where the memory goes."""
    accelerated = jax.default_backend() != "cpu"
    resolved = experiment.execution.resolve(accelerated=accelerated)
    experiment = dataclasses.replace(experiment, execution=resolved)
    rows = experiment.batch_size // experiment.micro_batches
    mesh = sharding.make_mesh(experiment.mesh, jax.device_count(), rows)
    kind = jax.devices()[0].device_kind
    limits = [chip.hbm_bytes for chip in CHIPS.values() if chip.device_kind == kind]
    return OutOfMemoryError(
        explain(
            experiment,
            dict(mesh.shape),
            out_of_memory_reason(error),
            hbm_bytes=limits[0] if limits else 0,
        )
    )


def explain(
    experiment: Experiment,
    shape: dict[str, int],
    reason: str,
    *,
    hbm_bytes: float = 0,
    num_slices: int = 1,
) -> str:
    """What to tell a person whose step needs too much memory: where it goes, and three remedies."""
    by = memory.estimate(experiment, shape)
    parts = ", ".join(
        f"{field} {size / GIB:.2f}" for field, size in dataclasses.asdict(by).items() if size
    )
    tries = "\n".join(
        f"  {remedy}" for remedy in remedies(experiment, shape, hbm_bytes, num_slices)
    )
    return (
        f"out of memory ({reason})\nA step needs about {by.total / GIB:.2f} GiB on each device: "
        f"{parts}. In this order, try\n{tries}"
    )


def remedies(
    experiment: Experiment, shape: dict[str, int], hbm_bytes: float = 0, num_slices: int = 1
) -> list[str]:
    """Three changes as flags, each with the bytes that it is estimated to need: of each kind the
    mildest that fits `hbm_bytes`, or else the one that saves most; first those that keep the batch.
    """
    ways = shape["data"] * shape["fsdp"]
    rows = experiment.batch_size // ways
    before = memory.estimate(experiment, shape).total
    options: list[tuple[str, Experiment, dict[str, int]]] = []
    full = dataclasses.replace(experiment.execution, remat="full")
    options.append(
        ("--execution.remat=full", dataclasses.replace(experiment, execution=full), shape)
    )
    for more in _divisors(rows):
        changed = dataclasses.replace(experiment, micro_batches=more)
        options.append((f"--micro-batches={more}", changed, shape))
    for other in _shapes(shape, num_slices):
        options.append((sharding.mesh_flags(other), experiment, other))
    sized: dict[str, list[tuple[int, str]]] = {}
    for flags, changed, changed_shape in options:
        try:
            total = memory.estimate(changed, changed_shape).total
        except ConfigError:
            continue  # the model does not divide over this mesh
        if total < before:
            sized.setdefault(flags.split("=")[0].split(".")[0], []).append((total, flags))
    ranked = sorted(
        next((option for option in same if option[0] <= hbm_bytes), min(same))
        for same in sized.values()
    )
    if rows % (2 * experiment.micro_batches) == 0:
        halved = dataclasses.replace(experiment, batch_tokens=experiment.batch_tokens // 2)
        total = memory.estimate(halved, shape).total
        ranked.append((total, f"--batch-tokens={halved.batch_tokens}"))
    ranked.append((0, "more devices along --mesh.fsdp"))
    return [
        f"{flags} (about {total / GIB:.2f} GiB)" if total else flags for total, flags in ranked[:3]
    ]


def _shapes(shape: dict[str, int], num_slices: int) -> Iterator[dict[str, int]]:
    """All ways to divide the same devices among data, fsdp and tensor; only the first of these reaches
    across slices."""
    num_devices = math.prod(shape[axis] for axis in ("data", "fsdp", "tensor"))
    per_slice = max(1, num_devices // num_slices)
    for tensor in (n for n in _divisors(per_slice) if n <= LARGEST_TENSOR):
        for fsdp in _divisors(per_slice // tensor):
            data = num_devices // (tensor * fsdp)
            yield shape | {"data": data, "fsdp": fsdp, "tensor": tensor}


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
