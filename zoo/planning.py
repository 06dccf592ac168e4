"""Will a run fit some hardware, and how fast could it be: one plan, and the search among many."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from models.config import ConfigError, Execution
from zoo import ahead_of_time, memory, roofline
from zoo.ahead_of_time import DoesNotFitError
from zoo.collectives import Collective
from zoo.config import Experiment, Mesh
from zoo.memory import Bytes
from zoo.roofline import Roofline
from zoo.topology import GIB, Topology


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


def mesh_shape(mesh: Mesh, num_devices: int) -> dict[str, int]:
    """The mesh over all devices of a topology. Raises ConfigError if it is not all of them."""
    shape = dataclasses.asdict(mesh)
    others = mesh.fsdp * mesh.tensor
    shape["data"] = mesh.data if mesh.data is not None else max(1, num_devices // others)
    if shape["data"] * others != num_devices:
        raise ConfigError(
            f"{' '.join(f'--mesh.{a}={n}' for a, n in shape.items())} needs "
            f"{shape['data'] * others} devices and the topology has {num_devices}; the product must "
            "be the number of devices"
        )
    return shape


def estimate(experiment: Experiment, topology: Topology, shape: dict[str, int]) -> Plan:
    """Without a compiler: for GPUs, where libtpu is missing, and to search."""
    sent = roofline.expected_collectives(experiment, shape, topology.devices_per_island)
    return _plan(experiment, topology, shape, "estimated", memory.estimate(experiment, shape), sent)


def compile(
    experiment: Experiment, topology: Topology, shape: dict[str, int], *, full_effort: bool = False
) -> Plan:
    """With libtpu; a step that does not fit is a plan too, with the estimate's bytes."""
    try:
        compiled = ahead_of_time.compile_step(experiment, topology, shape, full_effort=full_effort)
    except DoesNotFitError as error:
        plan = estimate(experiment, topology, shape)
        return dataclasses.replace(plan, fits=False, refusal=str(error))
    plan = _plan(experiment, topology, shape, "compiled", compiled.bytes, compiled.collectives)
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
    micro-batches and every remat policy. Data parallelism goes across slices."""
    for shape in _shapes(topology):
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


def remedies(plan: Plan) -> list[str]:
    """Three changes, each with the bytes that it is estimated to need, least first."""
    experiment, shape = plan.experiment, plan.shape
    ways = shape["data"] * shape["fsdp"]
    rows = experiment.batch_size // ways
    more = next((m for m in _divisors(rows) if m > experiment.micro_batches), None)
    execution: Execution = experiment.execution
    options: list[tuple[str, Experiment, dict[str, int]]] = []
    if execution.remat != "full":
        full = dataclasses.replace(execution, remat="full")
        options.append(
            ("--execution.remat=full", dataclasses.replace(experiment, execution=full), shape)
        )
    if more is not None:
        changed = dataclasses.replace(experiment, micro_batches=more)
        options.append((f"--micro-batches={more}", changed, shape))
    options += [(_mesh_flags(s), experiment, s) for s in _shapes(plan.topology) if s != shape]
    half = max(1, rows // 2) * ways * experiment.seq_len
    if half < experiment.batch_tokens:
        smaller = dataclasses.replace(experiment, batch_tokens=half, micro_batches=1)
        options.append((f"--batch-tokens={half}", smaller, shape))
    sized = []
    for flags, changed, changed_shape in options:
        try:
            sized.append((memory.estimate(changed, changed_shape).total, flags))
        except ConfigError:
            continue
    meshes = sorted(s for s in sized if s[1].startswith("--mesh"))[:1]
    others = [s for s in sized if not s[1].startswith("--mesh")]
    return [f"{flags}  (about {size / GIB:.1f} GiB)" for size, flags in sorted(others + meshes)[:3]]


def _mesh_flags(shape: dict[str, int]) -> str:
    return " ".join(f"--mesh.{axis}={size}" for axis, size in shape.items())


def _shapes(topology: Topology) -> Iterator[dict[str, int]]:
    devices = topology.num_devices // topology.num_slices
    for tensor in (n for n in _divisors(devices) if n <= 16):
        for fsdp in _divisors(devices // tensor):
            data = topology.num_devices // (tensor * fsdp)
            yield {"data": data, "fsdp": fsdp, "tensor": tensor}


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
