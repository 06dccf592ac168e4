"""Plans as text tables, in which estimates are marked as such."""

from collections.abc import Sequence

from zoo.distribution.sharding import mesh_flags
from zoo.planning.hardware import GIB
from zoo.planning.plan import Plan
from zoo.planning.serving import ServingPlan
from zoo.planning.training import TrainingPlan

MIB = 2**20
MAX_RANKED = 10
"""Plans that the table of a search shows, at most."""

Row = tuple[str, str]
PREDICTION: Row = (
    "prediction",
    "fitted to published runs (docs/plans.md); 5 points off in the median",
)
ESTIMATE: Row = ("bound", "from published peaks, everything overlapping perfectly")


def ranking_table(ranked: Sequence[TrainingPlan]) -> str:
    """Return a line for each of the fastest plans."""
    lines = [
        f"  {plan.roofline.step_s:8.3f} s  {plan.roofline.mfu:6.1%} MFU  "
        f"{format_bytes(plan.bytes.total)}  {plan.flags}"
        for plan in ranked[:MAX_RANKED]
    ]
    return "\n".join([f"{len(ranked)} fit by the estimate; the fastest are", *lines])


def training_table(plan: TrainingPlan, name: str) -> str:
    """Return the table of a train step of the model `name`."""
    bounds, predicted, nearest = plan.roofline, plan.prediction, plan.nearest_run
    comparison = f"{nearest.name}, {nearest.topology.name}: {nearest.mfu:.1%} MFU"
    if plan.is_far:
        comparison += "; THE PREDICTION IS MORE THAN 15 POINTS AWAY, do not rely on it"
    return _table(
        ("model", f"{name}, {plan.flags}"),
        _devices(plan),
        ("attention", plan.attention),
        *_memory(plan),
        *_communication(plan, "step"),
        ("FLOPs per step", f"{plan.flops_per_step:.3g}"),
        ESTIMATE,
        ("  compute", format_seconds(bounds.compute_s)),
        ("  memory", format_seconds(bounds.memory_s)),
        ("  links", format_seconds(bounds.links_s)),
        ("  network", format_seconds(bounds.network_s)),
        ("  step", f"{format_seconds(bounds.step_s)}, {bounds.mfu:.1%} MFU at most"),
        PREDICTION,
        ("  products", format_seconds(predicted.products_s)),
        ("  attention", format_seconds(predicted.attention_s)),
        ("  memory", format_seconds(predicted.memory_s)),
        ("  exposed traffic", format_seconds(predicted.exposed_s)),
        ("  step", f"{format_seconds(predicted.step_s)}, {predicted.mfu:.1%} MFU probably"),
        ("  nearest published", comparison),
    )


def serving_table(plan: ServingPlan, name: str) -> str:
    """Return the table of a decode step of the model `name`."""
    step = format_seconds(plan.step_s)
    return _table(
        ("model", f"{name}, {mesh_flags(plan.shape) or 'one device'}"),
        _devices(plan),
        ("decoded together", f"{plan.batch_size:,} sequences of {plan.context_length:,} tokens"),
        ("weights", "int8" if plan.weights == "int8" else "in the precision of the run"),
        *_memory(plan),
        *_communication(plan, "token"),
        ESTIMATE,
        ("  at most", f"{plan.tokens_per_s:,.0f} tokens/s, {step} per token"),
    )


def _table(*rows: Row) -> str:
    return "\n".join(f"{key:<21}{value}" for key, value in rows)


def _devices(plan: Plan) -> Row:
    return "devices", f"{plan.topology.num_devices:,} x {plan.topology.chip.device_kind}"


def _memory(plan: Plan) -> list[Row]:
    if plan.refusal is not None:
        source = "estimated, as the compiler refused it"
    elif plan.compile_s is None:
        source = "estimated, not compiled"
    else:
        source = f"compiled in {plan.compile_s:.0f} s"
    total, hbm = format_bytes(plan.bytes.total), format_bytes(plan.topology.chip.hbm_bytes)
    return [
        ("bytes per device", source),
        *(
            (f"  {part.replace('_', ' ')}", format_bytes(size))
            for part, size in plan.bytes.parts().items()
        ),
        ("  total", f"{total} of {hbm}: {'fits' if plan.fits else 'DOES NOT FIT'}"),
    ]


def _communication(plan: Plan, unit: str) -> list[Row]:
    rows = []
    for collective in plan.collectives:
        network = ", across slices" if collective.across_slices else ""
        sent = f"{collective.count:,} times, {format_bytes(collective.bytes)}{network}"
        rows.append((f"  {collective.kind}", sent))
    return [(f"sent per {unit}", "by each device"), *rows] if rows else []


def format_bytes(num_bytes: float) -> str:
    """Return a size in GiB, or in MiB if it is small."""
    size, unit = (GIB, "GiB") if num_bytes >= GIB / 8 else (MIB, "MiB")
    return f"{num_bytes / size:.2f} {unit}"


def format_seconds(seconds: float) -> str:
    """Return a time in seconds, or in milliseconds if it is short."""
    return f"{seconds:.3f} s" if seconds >= 0.1 else f"{seconds * 1e3:.3f} ms"
