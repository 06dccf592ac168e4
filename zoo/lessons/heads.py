"""Decode speed and cache bytes with as many key and value heads as query heads, fewer, and one."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import configs
from models.config import ModelConfig
from models.execution import Execution
from models.flops import decoding_intensity, forward_flops_per_token, kv_cache_bytes_per_token
from models.model import num_params
from models.positions import Positions
from models.transformer import Transformer
from zoo.benchmarking.spread import Figure, Spread
from zoo.distribution.devices import resolve_dtype
from zoo.explaining.tables import Table
from zoo.inference.decode import CHUNK, DecodeState, Sampling, decode
from zoo.inference.layout import graphdef_by_layer, params_by_layer
from zoo.lessons.catalog import Heads, Report
from zoo.lessons.shown import Shown
from zoo.lessons.timing import in_turn, machine, milliseconds, times
from zoo.reporting.plots import Line, Panel

QUERIES = (
    "Multi-query attention still has a query for every head, which the head computes from each "
    "token; no query is a trained vector. What its {} heads share is one key and one value head."
)


@dataclass(frozen=True)
class Decoder:
    """A model with random weights, laid out to decode."""

    name: str
    model: ModelConfig
    execution: Execution
    graphdef: nnx.GraphDef
    params: nnx.State

    @classmethod
    def make(cls, lesson: Heads, num_kv_heads: int) -> "Decoder":
        """Return the decoder with so many key and value heads.

        Raises ConfigError if they do not divide the query heads.
        """
        model = model_of(lesson, num_kv_heads)
        execution = resolve_dtype(configs.get("llama_small")).execution
        made = jax.jit(lambda: nnx.state(Transformer(model, execution, rngs=nnx.Rngs(0))))()
        params = params_by_layer(made, execution)
        return cls(_name(model), model, execution, graphdef_by_layer(model, execution), params)

    @property
    def value_bytes(self) -> int:
        """Bytes of a key's or value's number."""
        return np.dtype(jnp.dtype(self.execution.dtype)).itemsize

    def cache_bytes(self, batch_size: int, length: int) -> int:
        """Return the bytes of all keys and values of rows of `length` tokens, by the config."""
        per_token = kv_cache_bytes_per_token(self.model, length, self.value_bytes)
        return batch_size * round(length * per_token)

    def read_bytes(self, batch_size: int, length: int) -> int:
        """Return the bytes that a step reads at least: all matrices once, and the cache."""
        flops = batch_size * forward_flops_per_token(self.model, length)
        args = self.model, batch_size, length, self.value_bytes
        return round(flops / decoding_intensity(*args))

    def filled(self, batch_size: int, length: int, room: int) -> DecodeState:
        """Return a state whose cache holds `length` tokens and has cells for `room`.

        The keys and values are zeros: what they are does not change the time.
        """
        return _filled(self.graphdef, self.params, batch_size, jnp.asarray(length), room)

    def steps(self, batch_size: int, length: int, room: int) -> Callable[[], jax.Array]:
        """Return a call that decodes CHUNK tokens and goes on where the last one ended."""
        state = self.filled(batch_size, length, room)
        allowed = np.ones((batch_size, self.model.vocab_size), bool)

        def call() -> jax.Array:
            nonlocal state
            state, tokens = decode(
                self.graphdef, self.params, allowed, state,
                sampling=Sampling(temperature=0), num_tokens=CHUNK,
            )  # fmt: skip
            return tokens

        return call


@functools.partial(jax.jit, static_argnames=("graphdef", "batch_size", "room"))
def _filled(
    graphdef: nnx.GraphDef, params: nnx.State, batch_size: int, length: jax.Array, room: int
) -> DecodeState:
    model: Transformer = nnx.merge(graphdef, params)
    cache = model.empty_cache(batch_size, room)
    cells = jnp.broadcast_to(
        jnp.arange(cache.positions.index.shape[1]), cache.positions.index.shape
    )
    is_filled = cells < length
    positions = Positions(jnp.where(is_filled, cells, 0), is_filled.astype(jnp.int32))
    cache = dataclasses.replace(cache, positions=positions, length=length)
    token = jnp.zeros(batch_size, jnp.int32)
    return DecodeState(cache, token, jnp.full(batch_size, length), jax.random.key(0))


def model_of(lesson: Heads, num_kv_heads: int) -> ModelConfig:
    """Return LLaMA's model with the lesson's sizes: all but the key and value heads are equal."""
    small, width = configs.get("llama_small").model, lesson.num_heads * lesson.head_dim
    return dataclasses.replace(
        small,
        num_layers=lesson.num_layers,
        d_model=width,
        attention=dataclasses.replace(
            small.attention,
            num_heads=lesson.num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=lesson.head_dim,
        ),
        feed_forward=dataclasses.replace(small.feed_forward, d_ff=8 * -(-width // 3)),
    )


def _name(model: ModelConfig) -> str:
    heads, kv_heads = model.attention.num_heads, model.attention.num_kv_heads
    kind = {heads: "multi-head", 1: "multi-query"}.get(kv_heads, "grouped-query")
    return f"{kind}, {kv_heads} KV"


@dataclass(frozen=True)
class Point:
    """The time of a step of one model at one batch size and length."""

    decoder: Decoder
    batch_size: int
    length: int
    step: Figure
    """Seconds of a step, which decodes a token of every row."""
    times_as_fast: Spread
    """Against the first model, repeat by repeat."""


def measure(lesson: Heads, report: Report) -> list[Point]:
    """Time the decode loop of every model, in turn."""
    decoders = [Decoder.make(lesson, number) for number in lesson.kv_heads]
    room = max(lesson.lengths) + (lesson.repeats + 1) * CHUNK
    points = []
    for batch_size in lesson.batch_sizes:
        for length in lesson.lengths:
            report(f"decoding {_rows(batch_size)} after {length:,} tokens")
            calls = {each.name: each.steps(batch_size, length, room) for each in decoders}
            found = in_turn(calls, lesson.repeats)
            steps = {name: _per_step(figure) for name, figure in found.items()}
            first = next(iter(steps.values()))
            points += [
                Point(each, batch_size, length, step, step.times_better(first))
                for each in decoders
                for step in (steps[each.name],)
            ]
    return points


def _per_step(figure: Figure) -> Figure:
    return dataclasses.replace(figure, values=tuple(value / CHUNK for value in figure.values))


def show(lesson: Heads, report: Report) -> Shown:
    """Measure, and return what is seen."""
    points = measure(lesson, report)
    decoders = list({point.decoder.name: point.decoder for point in points}.values())
    return Shown(
        title="Heads: what decoding reads",
        seen=[*_seen(points), QUERIES.format(lesson.num_heads)],
        tables=[_models(decoders), _steps(points)],
        panels=[*_panels(points, lesson), _cache_panel(decoders, lesson)],
        device=machine(),
        compared=[
            {
                "name": each.name,
                "num_heads": each.model.attention.num_heads,
                "num_kv_heads": each.model.attention.num_kv_heads,
                "num_params": num_params(each.model),
                "cache_bytes_per_token": each.cache_bytes(1, 1),
            }
            for each in decoders
        ],
        measured=[
            {
                "name": point.decoder.name,
                "batch_size": point.batch_size,
                "length": point.length,
                "cache_bytes": point.decoder.cache_bytes(point.batch_size, point.length),
                "read_bytes": point.decoder.read_bytes(point.batch_size, point.length),
                "step_s": point.step.to_json(),
                "times_as_fast": point.times_as_fast._asdict(),
            }
            for point in points
        ],
    )


def _seen(points: list[Point]) -> Iterator[str]:
    """Yield a sentence on the models with the fewest heads, where the cache is small and large."""
    sizes = sorted({(p.batch_size * p.length, p.batch_size, p.length) for p in points})
    for _, *size in dict.fromkeys((sizes[0], sizes[-1])):
        first, *_, last = [p for p in points if [p.batch_size, p.length] == size]
        read = [p.decoder.read_bytes(*size) / 1e6 for p in (first, last)]
        cache = first.decoder.cache_bytes(*size) / 1e6
        yield (
            f"{_rows(size[0])} after {size[1]:,} tokens: {first.decoder.name} reads {read[0]:,.0f} "
            f"MB a step, {cache:,.0f} MB of it cache; {last.decoder.name} reads {read[1]:,.0f} MB "
            f"and is {times(last.times_as_fast)} as fast."
        )


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _models(decoders: list[Decoder]) -> Table:
    rows = [
        [
            each.name,
            str(each.model.attention.num_heads),
            str(each.model.attention.num_kv_heads),
            f"{num_params(each.model):,}",
            f"{each.cache_bytes(1, 1):,}",
        ]
        for each in decoders
    ]
    model = decoders[0].model
    note = (
        f"{model.num_layers} layers of width {model.d_model}, d_ff {model.feed_forward.d_ff:,}, in "
        f"{decoders[0].execution.dtype}. The cache of a token: 2 (a key and a value) x layers x KV "
        "heads x width of a head x bytes of a number. No other size differs, so the projections of "
        "fewer heads have fewer parameters."
    )
    head = ("model", "query heads", "KV heads", "parameters", "cache bytes per token")
    return Table("Models", head, rows, [note])


def _steps(points: list[Point]) -> Table:
    rows = []
    for point in points:
        size = point.batch_size, point.length
        rows.append(
            [
                f"{point.batch_size} x {point.length:,}",
                point.decoder.name,
                f"{point.decoder.cache_bytes(*size) / 1e6:,.1f}",
                f"{point.decoder.read_bytes(*size) / 1e6:,.1f}",
                milliseconds(point.step.spread),
                times(point.times_as_fast),
            ]
        )
    note = (
        f"A step decodes a token of every row; calls of {CHUNK} steps, the models in turn. Median "
        "(quartiles). A step reads all matrices once, and the keys and values of every row. The "
        "ratio is taken call by call."
    )
    head = ("rows x tokens", "model", "cache MB", "read MB", "ms per step", "times as fast")
    return Table("Decode loop", head, rows, [note])


def _panels(points: list[Point], lesson: Heads) -> Iterator[Panel]:
    for batch_size in lesson.batch_sizes:
        lines = []
        for style, name in enumerate(dict.fromkeys(point.decoder.name for point in points)):
            here = [p for p in points if p.decoder.name == name and p.batch_size == batch_size]
            here.sort(key=lambda point: point.length)
            lengths = np.array([point.length for point in here], float)
            steps = 1e3 * np.array([point.step.spread for point in here])
            line = Line(name, lengths, steps[:, 0], (steps[:, 1], steps[:, 2]), style=style)
            lines.append(line)
        yield Panel(
            f"a step of {_rows(batch_size)}",
            "tokens in the cache",
            "ms",
            lines,
            scales=("log", "linear"),
        )


def _cache_panel(decoders: list[Decoder], lesson: Heads) -> Panel:
    lengths, most = np.array(sorted(lesson.lengths), float), max(lesson.batch_sizes)
    lines = [
        Line(
            each.name,
            lengths,
            np.array([each.cache_bytes(most, int(length)) / 1e6 for length in lengths]),
            style=style,
        )
        for style, each in enumerate(decoders)
    ]
    return Panel(
        f"cache of {_rows(most)}", "tokens in the cache", "MB", lines, scales=("log", "log")
    )  # fmt: skip
