"""Time and memory of attention by length: all scores at once, in blocks, in bands, fused."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import configs
from configs.experiment import Experiment
from models.attention import kernels
from models.attention.blocks import MOST_UNROLLED, Dropout, Queries
from models.attention.ring import KeyValues
from models.execution import Kernel
from models.positions import Positions
from zoo.benchmarking.spread import Figure
from zoo.distribution.devices import choose_attention, resolve_dtype
from zoo.explaining.tables import Table
from zoo.lessons.catalog import Attention, Report
from zoo.lessons.shown import Shown
from zoo.lessons.timing import growth, in_turn, machine, milliseconds
from zoo.reporting.plots import Line, Panel

Attend = Callable[[Array, Array, Array], Array]
"""Attention of queries, keys and values [B, T, N, H]."""
FUSED = (
    "Blocks and fused kernels (FlashAttention, Dao et al. 2022) compute the same dense scores: "
    "they save memory, not FLOPs. Their time still grows with the square of the length."
)
BANDS = (
    "A band is linear in the length only while it is fixed. One that grows with the length, or a "
    "strided pattern, is not."
)


def dense(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T N H"],
    value: Float[Array, "B T N H"],
    *,
    window: int | None = None,
) -> Float[Array, "B T N H"]:
    """Attend to all tokens that are not later, with all scores at once: the equation as it stands.

    Args:
      window: tokens that a query sees, itself included; the other scores are computed, too.
    """
    scores = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=jnp.float32)
    token = jnp.arange(query.shape[1])
    distance = token[:, None] - token
    mask = (distance >= 0) & (distance < (window or len(token)))
    scores = jnp.where(mask, scores / math.sqrt(query.shape[-1]), -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bnts,bsnh->btnh", weights, value)


def of_the_zoo(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T N H"],
    value: Float[Array, "B T N H"],
    *,
    kernel: Kernel,
    window: int | None = None,
) -> Float[Array, "B T N H"]:
    """Attend as a layer of the zoo does, with one of its kernels."""
    queries = Queries(query / math.sqrt(query.shape[-1]), None)
    positions = Positions.whole_rows(*query.shape[:2])
    drop = Dropout(0.0, None)
    return kernels.attend(queries, positions, KeyValues(key, value, None), drop, window, kernel)


def fused_kernel(lesson: Attention, length: int) -> tuple[Experiment, str]:
    """Return the experiment with the kernel that its devices choose, and the reason in words."""
    experiment = resolve_dtype(configs.get("llama_small"))
    heads = dataclasses.replace(
        experiment.model.attention,
        num_heads=lesson.num_heads,
        num_kv_heads=lesson.num_heads,
        head_dim=lesson.head_dim,
    )
    experiment = dataclasses.replace(
        experiment,
        model=dataclasses.replace(experiment.model, attention=heads),
        data=dataclasses.replace(experiment.data, packing="unmasked"),
        seq_len=length,
        batch_tokens=length,
        batch_ramp=None,
    )
    return choose_attention(experiment, {"sequence": 1})


def forms(lesson: Attention, length: int, kernel: Kernel) -> dict[str, Attend]:
    """Return the forms of attention by name; a fused one only if `kernel` is not the plain one."""
    growing = max(1, length // lesson.band_share)
    found: dict[str, Attend] = {
        "dense": dense,
        "in blocks": functools.partial(of_the_zoo, kernel="xla"),
        f"band of {lesson.band}": functools.partial(of_the_zoo, kernel="xla", window=lesson.band),
        f"band of 1/{lesson.band_share}": functools.partial(
            of_the_zoo, kernel="xla", window=growing
        ),
    }
    if kernel != "xla":
        found[f"fused ({kernel})"] = functools.partial(of_the_zoo, kernel=kernel)
    return found


@dataclass(frozen=True)
class Point:
    """One form of attention at one length, forward and backward."""

    form: str
    length: int
    temporary_bytes: int
    """Memory that the compiled program needs besides its inputs and outputs."""
    seconds: Figure


def compiled(attend: Attend, arrays: Mapping[str, Array]) -> jax.stages.Compiled:
    """Return the program that attends and returns all gradients for that of its output."""

    def both_ways(query: Array, key: Array, value: Array, d_mixed: Array) -> Any:
        mixed, pull_back = jax.vjp(attend, query, key, value)
        return mixed, pull_back(d_mixed)

    return jax.jit(both_ways).lower(*arrays.values()).compile()


def random_arrays(lesson: Attention, length: int, dtype: str) -> dict[str, Array]:
    """Return random queries, keys, values and a gradient, [1, T, N, H] each."""
    names = ("query", "key", "value", "d_mixed")
    shape = (1, length, lesson.num_heads, lesson.head_dim)
    keys = jax.random.split(jax.random.key(0), len(names))
    return {n: jax.random.normal(k, shape, dtype) for n, k in zip(names, keys, strict=True)}


def temporary_bytes(program: jax.stages.Compiled) -> int:
    """Return the memory that a compiled program needs besides its inputs and outputs."""
    analysis: Any = program.memory_analysis()  # its fields are typed by no stub
    return int(analysis.temp_size_in_bytes)


def measure(lesson: Attention, report: Report) -> list[Point]:
    """Compile and time every form at every length, the forms in turn."""
    points = []
    for length in sorted(lesson.lengths):
        experiment, _ = fused_kernel(lesson, length)
        execution = experiment.execution
        assert execution.attention != "auto"
        arrays = random_arrays(lesson, length, execution.dtype)
        report(f"attention to {length:,} tokens, forward and backward, {execution.dtype}")
        programs = {
            name: compiled(attend, arrays)
            for name, attend in forms(lesson, length, execution.attention).items()
        }
        calls = {
            name: functools.partial(program, *arrays.values()) for name, program in programs.items()
        }
        for name, figure in in_turn(calls, lesson.repeats).items():
            points.append(Point(name, length, temporary_bytes(programs[name]), figure))
    return points


@dataclass(frozen=True)
class Growth:
    """The exponents e with which a form's time and memory grow as length^e."""

    form: str
    time: float
    memory: float


def growths(points: list[Point]) -> list[Growth]:
    """Return the exponents of every form that was measured at two lengths or more."""
    found = []
    for form in dict.fromkeys(point.form for point in points):
        here = [point for point in points if point.form == form]
        lengths = [point.length for point in here]
        if len(here) > 1:
            time = growth(lengths, [point.seconds.spread.median for point in here])
            memory = growth(lengths, [max(1, point.temporary_bytes) for point in here])
            found.append(Growth(form, time, memory))
    return found


def show(lesson: Attention, report: Report) -> Shown:
    """Measure, and return what is seen."""
    points = measure(lesson, report)
    fits = growths(points)
    experiment, reason = fused_kernel(lesson, max(lesson.lengths))
    fused = f"The platform's fused kernel: {experiment.execution.attention}, {reason}."
    if experiment.execution.attention == "xla":
        fused = f"Not measured: a fused kernel of the platform, because {reason}."
    return Shown(
        title="Attention: time and memory by length",
        seen=[*_seen(points, fits), FUSED, BANDS, fused],
        tables=[_growth_table(fits), _points_table(points, lesson, experiment.execution.dtype)],
        panels=[
            _panel("time", "ms", points, lambda p: 1e3 * p.seconds.spread.median),
            _panel("temporary memory", "MB", points, lambda p: max(1, p.temporary_bytes) / 1e6),
        ],
        device=machine(),
        compared=[
            {"name": each.form, "time_exponent": each.time, "memory_exponent": each.memory}
            for each in fits
        ],
        measured=[
            {
                "name": point.form,
                "length": point.length,
                "temporary_bytes": point.temporary_bytes,
                "seconds": point.seconds.to_json(),
            }
            for point in points
        ],
    )


def _seen(points: list[Point], fits: list[Growth]) -> Iterator[str]:
    longest = max(point.length for point in points)
    last = {point.form: point for point in points if point.length == longest}
    first, blocks = last["dense"], last["in blocks"]
    of_blocks = 1e3 * blocks.seconds.spread.median
    yield (
        f"At {longest:,} tokens, dense attention needs {first.temporary_bytes / 1e6:,.0f} MB of "
        f"temporaries and {1e3 * first.seconds.spread.median:,.0f} ms, the same in blocks "
        f"{blocks.temporary_bytes / 1e6:,.0f} MB and {of_blocks:,.0f} ms."
    )
    told = [f"{each.form} {each.time:.2f} and {each.memory:.2f}" for each in fits]
    yield f"Exponents of the length in time and in memory: {'; '.join(told)}."


def _growth_table(fits: list[Growth]) -> Table:
    rows = [[each.form, f"{each.time:.2f}", f"{each.memory:.2f}"] for each in fits]
    note = (
        "The exponent e of length^e, by least squares over all lengths: 1 is linear, 2 quadratic. "
        "At short lengths fixed costs make it smaller."
    )
    return Table("Growth", ("form", "time", "memory"), rows, [note])


def _points_table(points: list[Point], lesson: Attention, dtype: str) -> Table:
    rows = [
        [
            f"{point.length:,}",
            point.form,
            f"{point.temporary_bytes / 1e6:,.1f}",
            milliseconds(point.seconds.spread),
        ]
        for point in points
    ]
    note = (
        f"Forward and backward, one row, {lesson.num_heads} heads of {lesson.head_dim}, {dtype}. "
        "Temporaries are those of the compiled program, besides queries, keys, values and their "
        f"gradients. On a CPU, XLA keeps the scores of up to {MOST_UNROLLED} blocks, which are "
        "written out one by one; more run in loops, which keep those of one. Median (quartiles) of "
        "calls in turn."
    )
    head = ("tokens", "form", "temporaries in MB", "ms")
    return Table("Measured", head, rows, [note])


def _panel(title: str, unit: str, points: list[Point], value: Callable[[Point], float]) -> Panel:
    lines = []
    for style, form in enumerate(dict.fromkeys(point.form for point in points)):
        here = [point for point in points if point.form == form]
        lengths = np.array([point.length for point in here], float)
        lines.append(Line(form, lengths, np.array([value(p) for p in here]), style=style))
    return Panel(title, "tokens", unit, lines, scales=("log", "log"))
