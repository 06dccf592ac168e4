"""Will it fit, how fast could it be: `python -m zoo.plan --model=palm_540b --topology=v4:12x16x16`.

The plan itself is made in zoo/planning/training.py, the compiling in zoo/planning/compilation.py.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from configs.experiment import Experiment
from models.config import check
from zoo import cli

if TYPE_CHECKING:
    from zoo.planning.collectives import Collective
    from zoo.planning.hardware import Topology
    from zoo.planning.serving import ServingPlan
    from zoo.planning.training import Plan

COMPILED_OF_SEARCH = 3
"""So many of the search's best are compiled, until one of them fits."""


@dataclass(frozen=True, kw_only=True)
class PlanCommand:
    """The flags of `python -m zoo.plan`, besides those of the experiment."""

    name: tyro.conf.Suppress[str]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    topology: str
    """The hardware: v4:12x16x16, v5e:16x16, h100:512; an unknown one is answered with all names."""
    num_slices: int = 1
    """TPU slices of that shape, joined by the data-centre network."""
    decode: bool = False
    """Plan serving instead of training: the step that decodes one token for every sequence."""
    decode_batch: int = 64
    """Sequences decoded together, each with a full context."""
    search: bool = False
    """Try meshes, micro-batches and remat policies, and rank those that fit."""
    quick: bool = False
    """Compile three times as fast, with less optimisation than a run has: bytes within a tenth or so.
    A search always does."""
    estimate_only: bool = False
    """Do not compile, though libtpu is there."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check(self.decode_batch > 0, f"--decode-batch={self.decode_batch} must be above zero")
        check(not (self.decode and self.search), "--decode and --search exclude each other")


def main(argv: list[str]) -> None:
    """Plan as the flags say. A plan that does not fit ends with exit code 5."""
    command = cli.parse_with_model(
        lambda experiment, name: PlanCommand(name=name, experiment=experiment, topology="v5e:4x4"),
        argv,
        prog="python -m zoo.plan",
        description="Plan a model's training, or its serving, on hardware that need not be there.",
    )

    import jax

    from zoo.distribution import sharding
    from zoo.errors import OutOfMemoryError
    from zoo.planning import auto_mesh
    from zoo.planning import compilation as ahead_of_time
    from zoo.planning import hardware as topology
    from zoo.planning import training as planning

    # A plan touches no device.
    jax.config.update("jax_platforms", "cpu")
    hardware = topology.parse(command.topology, command.num_slices)
    experiment = planning.on_accelerator(command.experiment)
    if experiment.mesh.auto and not command.search:
        chosen, why = auto_mesh.choose(
            experiment,
            hardware.num_devices,
            hardware.chip.hbm_bytes,
            hardware.devices_per_island,
        )
        cli.console.print(f"mesh: {why}", soft_wrap=True)
        experiment = dataclasses.replace(experiment, mesh=chosen)
    compiles = hardware.is_tpu and ahead_of_time.can_compile() and not command.estimate_only
    if hardware.is_tpu and not ahead_of_time.can_compile():
        cli.console.print('libtpu is missing, so this is an estimate: pip install "gpt-zoo[tpu]"')
    if command.decode:
        _decode(command, experiment, hardware, compiles)
        return
    if command.search:
        plan = _search(command, experiment, hardware, compiles)
    else:
        shape = sharding.mesh_shape(experiment.mesh, hardware.num_devices)
        plan = _one(command, experiment, hardware, shape, compiles)
        if command.json:
            print(json.dumps(plan.summary(command.name)))
        else:
            print(describe(plan, command.name))
    if not plan.fits:
        reason = plan.refusal or f"{_size(hardware.chip.hbm_bytes)} a device, by the estimate"
        raise OutOfMemoryError(
            planning.explain(
                plan.experiment,
                plan.shape,
                reason,
                hbm_bytes=hardware.chip.hbm_bytes,
                num_slices=hardware.num_slices,
            )
        )


def _one(command: PlanCommand, experiment: Experiment, hardware: "Topology", shape, compiles: bool):
    from zoo.planning import training as planning

    if not compiles:
        return planning.estimate(experiment, hardware, shape)
    return planning.compile(experiment, hardware, shape, quick=command.quick)


def _search(command: PlanCommand, experiment: Experiment, hardware: "Topology", compiles: bool):
    from zoo.planning import training as planning

    ranked = planning.search(experiment, hardware)
    check(len(ranked) > 0,
          f"--model={command.name} fits no mesh of {hardware.name} x {hardware.num_slices}, by the "
          "estimate; take more or larger devices, or a smaller --batch-tokens")  # fmt: skip
    best = ranked[0]
    if compiles:
        for plan in ranked[:COMPILED_OF_SEARCH]:
            cli.console.print(f"compiling {_flags(plan)}")
            best = planning.compile(plan.experiment, hardware, plan.shape, quick=True)
            if best.fits:
                break
    if command.json:
        print(json.dumps({"best": best.summary(command.name),
                          "ranked": [plan.summary(command.name) for plan in ranked[:20]]}))  # fmt: skip
    else:
        print(f"{len(ranked)} fit by the estimate; the first of them, fastest first:")
        for plan in ranked[:10]:
            print(f"  {plan.roofline.step_s:8.3f} s  {plan.roofline.mfu:6.1%} MFU  "
                  f"{_size(plan.bytes.total)}  {_flags(plan)}")  # fmt: skip
        print(describe(best, command.name))
    return best


def describe(plan: "Plan", name: str) -> str:
    """The plan of a train step in a table, estimates marked as such."""
    chip, by, best = plan.topology.chip, plan.bytes, plan.roofline
    rows = [
        ("model", f"{name}, {_flags(plan)}"),
        ("devices", f"{plan.topology.num_devices:,} x {chip.device_kind}"),
        ("bytes a device", _how(plan.source, plan.refusal, plan.compile_s)),
        *((f"  {field}", _size(getattr(by, field)))
          for field in ("params", "gradients", "optimizer", "temporaries", "code")),
        _total(by.total, chip.hbm_bytes, plan.fits),
        *_sent(plan.collectives, "step"),
        ("FLOPs a step", f"{plan.flops_per_step:.3g}"),
        ("estimate", "from published peaks, everything overlapping perfectly"),
        ("  compute", _time(best.compute_s)),
        ("  memory", _time(best.memory_s)),
        ("  links", _time(best.links_s)),
        ("  network", _time(best.network_s)),
        ("  step", f"{_time(best.step_s)}, {best.mfu:.1%} MFU at most"),
    ]  # fmt: skip
    return _table(rows)


def _decode(command: PlanCommand, experiment: Experiment, hardware: "Topology", compiles: bool):
    from zoo.distribution import sharding
    from zoo.errors import OutOfMemoryError
    from zoo.planning import serving

    shape = sharding.mesh_shape(experiment.mesh, hardware.num_devices)
    plan = serving.plan(experiment, hardware, shape, command.decode_batch, compiles=compiles)
    if command.json:
        print(json.dumps(plan.summary(command.name)))
    else:
        print(describe_serving(plan, command.name))
    if not plan.fits:
        raise OutOfMemoryError(
            f"it does not fit ({plan.refusal or 'by the estimate'}); in this order, try\n"
            f"  --decode-batch={max(1, command.decode_batch // 2)}\n"
            f"  --mesh.tensor={2 * shape['tensor']}\n  more devices in --topology"
        )


def describe_serving(plan: "ServingPlan", name: str) -> str:
    """The plan of a decode step in a table, estimates marked as such."""
    chip, by = plan.topology.chip, plan.bytes
    rows = [
        ("model", f"{name}, {_mesh(plan.shape)}"),
        ("devices", f"{plan.topology.num_devices:,} x {chip.device_kind}"),
        ("decoded together", f"{plan.batch_size:,} sequences of {plan.context_length:,} tokens"),
        ("bytes a device", _how(plan.source, plan.refusal, plan.compile_s)),
        *((f"  {field.replace('_', ' ')}", _size(getattr(by, field)))
          for field in ("weights", "kv_cache", "temporaries", "code")),
        _total(by.total, chip.hbm_bytes, plan.fits),
        *_sent(plan.collectives, "token"),
        ("estimate", "from published peaks, everything overlapping perfectly"),
        ("  at most", f"{plan.tokens_per_s:,.0f} tokens/s, {_time(plan.step_s)} a token"),
    ]  # fmt: skip
    return _table(rows)


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"{key:<21}{value}" for key, value in rows)


def _how(source: str, refusal: str | None, compile_s: float | None) -> str:
    if refusal is not None:
        return "estimated, as the compiler refused it"
    return "estimated, not compiled" if compile_s is None else f"{source} in {compile_s:.0f} s"


def _total(total: int, hbm_bytes: float, fits: bool) -> tuple[str, str]:
    verdict = "fits" if fits else "DOES NOT FIT"
    return "  total", f"{_size(total)} of {_size(hbm_bytes)}: {verdict}"


def _sent(collectives: "list[Collective]", what: str) -> list[tuple[str, str]]:
    lines = [
        (
            f"  {each.kind}",
            (
                f"{each.count:,} times, {_size(each.bytes)}"
                f"{', across slices' if each.across_slices else ''}"
            ),
        )
        for each in collectives
    ]
    return [(f"sent a {what}", "by each device"), *lines] if lines else []


def _mesh(shape: dict[str, int]) -> str:
    from zoo.distribution.sharding import mesh_flags

    return mesh_flags(shape) or "one device"


def _flags(plan: "Plan") -> str:
    run = plan.experiment
    return (
        f"{_mesh(plan.shape)} --micro-batches={run.micro_batches} "
        f"--execution.remat={run.execution.remat}"
    )


def _size(num_bytes: float) -> str:
    unit, name = (2**30, "GiB") if num_bytes >= 2**27 else (2**20, "MiB")
    return f"{num_bytes / unit:.2f} {name}"


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 0.1 else f"{seconds * 1e3:.3f} ms"


if __name__ == "__main__":
    cli.run(main)
