"""Self-attention in blocks, over sequences whose length may be split over a mesh axis.

The devices along the axis form a ring. Each keeps its queries; keys and values go round, one part
at a time, so that no device ever holds all of them (Ring Attention, Liu et al. 2023, arXiv
2310.01889). Without an axis, the ring has one device.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from models.attention import blocks
from models.attention.blocks import Attended, Dropout, Gradient, Queries
from models.attention.cache import Keys
from models.positions import Positions


class KeyValues(NamedTuple):
    """One layer's keys and values, on each device those of its part of the sequence."""

    key: Float[Array, "B T K H"]
    value: Float[Array, "B T K H"]
    distance_keys: Float[Array, "M N E"] | None
    """Projected sinusoids of the distances of the whole sequence, on every device; None without
    relative positions."""


def attend(
    queries: Queries,
    positions: Positions,
    keys: KeyValues,
    drop: Dropout,
    window: int | None,
    axis: str | None,
) -> Float[Array, "B T N H"]:
    """Attend to the tokens of the same document that are not later.

    Args:
      window: tokens that a query sees, itself included; None: all.
      axis: mesh axis over which the length is split; inside `jax.shard_map`, unless it is None.
    """
    numbers = positions.index, positions.segment_ids, drop.key
    # jax.custom_vjp hides the types of the function that it wraps; this one shows them.
    mixed: Array = _differentiable(queries, keys, numbers, drop.rate, window, axis)
    return mixed


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _differentiable(
    queries: Queries, keys: KeyValues, numbers, rate: float, window: int | None, axis: str | None
) -> jax.Array:
    """Attend; `numbers` are the two of `Positions` and the key of dropout."""
    *positions, key = numbers
    return _attend(queries, Positions(*positions), keys, Dropout(rate, key), window, axis).mixed


def _attend(queries, positions, keys, drop, window, axis) -> Attended:
    own = Keys(keys.key, keys.value, positions, keys.distance_keys, query_offset=0)
    attended = blocks.attend(queries, positions, own, window, _dropout(drop, axis, 0))
    if axis is None:
        return attended

    def turn(carry, number):
        attended, travelling = carry
        travelling = _to_next(travelling, axis)
        part = _part(own, travelling, number)
        more = blocks.attend(queries, positions, part, window, _dropout(drop, axis, number))
        return (blocks.join(attended, more), travelling), None

    whole = Attended(attended.mixed.astype(jnp.float32), attended.log_mass)
    numbers = jnp.arange(1, _num_parts(queries, window, axis))
    (whole, _), _ = jax.lax.scan(turn, (whole, _travelling(own)), numbers)
    return Attended(whole.mixed.astype(attended.mixed.dtype), whole.log_mass)


def _forward(queries, keys, numbers, rate, window, axis):
    *positions, key = numbers
    attended = _attend(queries, Positions(*positions), keys, Dropout(rate, key), window, axis)
    # Rematerialisation that keeps products keeps these too: the weights follow from them.
    attended = Attended(*(checkpoint_name(x, "heads") for x in attended))
    return attended.mixed, (queries, keys, numbers, attended)


def _backward(rate, window, axis, saved, d_mixed):
    queries, keys, (*positions, dropout_key), attended = saved
    positions, drop = Positions(*positions), Dropout(rate, dropout_key)
    own = Keys(keys.key, keys.value, positions, keys.distance_keys, query_offset=0)

    def gradient(part: Keys, number) -> Gradient:
        dropped = _dropout(drop, axis, number)
        return blocks.gradient(queries, positions, part, window, dropped, attended, d_mixed)

    total = gradient(own, 0)
    if axis is not None:
        num_parts = _num_parts(queries, window, axis)

        def turn(carry, number):
            total, travelling = carry
            total, travelling = _keys_to_next(total, axis), _to_next(travelling, axis)
            more = gradient(_part(own, travelling, number), number)
            return (jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, more), travelling), None

        total = jax.tree.map(lambda x: x.astype(jnp.float32), total)
        (total, _), _ = jax.lax.scan(turn, (total, _travelling(own)), jnp.arange(1, num_parts))
        total = _keys_to_next(total, axis, steps=1 - num_parts)
    gradients = (
        Queries(total.content, total.distance),
        KeyValues(total.key, total.value, total.distance_keys),
    )
    d_queries, d_keys = jax.tree.map(lambda d, x: d.astype(x.dtype), gradients, (queries, keys))
    return d_queries, d_keys, None


_differentiable.defvjp(_forward, _backward)


def _travelling(own: Keys) -> tuple[Array, Array, Positions]:
    """Return what goes round the ring."""
    return own.key, own.value, own.positions


def _part(own: Keys, travelling: tuple[Array, Array, Positions], number) -> Keys:
    """Return the keys that lie `number` parts before the queries.

    On a device that has fewer parts before it, these are keys of a later part, which its queries do
    not see: no position of their documents comes before that of a query.
    """
    key, value, positions = travelling
    offset = number * key.shape[1]
    return Keys(key, value, positions, own.distance_keys, query_offset=offset)


def _num_parts(queries: Queries, window: int | None, axis: str) -> int:
    """Return the number of parts, its own included, that a query sees at most."""
    size, length = jax.lax.axis_size(axis), queries.content.shape[1]
    return size if window is None else min(size, 1 + -(-(window - 1) // length))


def _to_next(tree: Any, axis: str, steps: int = 1) -> Any:
    """Return what the device `steps` places before this one has."""
    size = jax.lax.axis_size(axis)
    return jax.lax.ppermute(tree, axis, [(i, (i + steps) % size) for i in range(size)])


def _keys_to_next(total: Gradient, axis: str, steps: int = 1) -> Gradient:
    """Return the gradient with that of the keys of the device `steps` places before this one."""
    key, value = _to_next((total.key, total.value), axis, steps)
    return total._replace(key=key, value=value)


def _dropout(drop: Dropout, axis: str | None, number) -> Dropout:
    """Return the dropout between a device's queries and the part `number` places before."""
    if axis is None:
        return drop
    return drop.fold_in(jax.lax.axis_index(axis)).fold_in(number)
