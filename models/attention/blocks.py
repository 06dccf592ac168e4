"""Attention one block of queries at a time: the plain form, which serves every model anywhere.

The scores of all queries are never held together, neither forward nor backward: the backward pass
computes a block's scores again, and its weights from one number per query (FlashAttention, Dao et
al. 2022, arXiv 2205.14135). The keys here may be only a part of those that the queries see;
`models.attention.ring` and `models.attention.past` put parts together.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from models.attention.cache import Keys
from models.dropout import dropout
from models.linear import product
from models.positions import Positions, causal_mask, distance_scores, slice_tokens

SMALLEST_BLOCK = 128
LARGEST_BLOCK = 512
"""Bounds on the number of queries that are scored at a time; see `block_size`."""
MOST_UNROLLED = 8
"""Blocks that are written out one by one. More of them run in loops, which keep the program small
and its blocks apart."""
NUM_SPANS = 4
"""Loops in which the blocks of a long sequence run. The blocks of one loop are scored against the
same keys, which leaves out 3/8 of dense attention."""


class Queries(NamedTuple):
    """One layer's queries, scaled by 1 / sqrt(H)."""

    content: Float[Array, "B T N H"]
    """Queries that are multiplied with the keys."""
    distance: Float[Array, "B T N E"] | None
    """Queries that are multiplied with the distance keys; None without relative positions."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dropout:
    """Dropout of attention weights."""

    rate: float = dataclasses.field(metadata={"static": True})
    key: Key[Array, ""] | None
    """None: nothing is dropped."""

    def fold_in(self, number: int | Int[Array, ""]) -> "Dropout":
        """Return the dropout of part `number`, independent of that of any other part."""
        if self.key is None:
            return self
        return Dropout(self.rate, jax.random.fold_in(self.key, number))


class Attended(NamedTuple):
    """The result of attention to some keys."""

    mixed: Float[Array, "B T N H"]
    """The values weighted by the softmax of the scores."""
    log_mass: Float[Array, "B T N"]
    """The logarithm of the sum of exp(score), in float32: the weights of the softmax are
    exp(score - log_mass)."""


class Gradient(NamedTuple):
    """The gradient with respect to queries and keys; fields are None where those of these are."""

    content: Float[Array, "B T N H"]
    distance: Float[Array, "B T N E"] | None
    key: Float[Array, "B S K H"]
    value: Float[Array, "B S K H"]
    distance_keys: Float[Array, "M N E"] | None


def attend(
    queries: Queries, positions: Positions, keys: Keys, window: int | None, drop: Dropout
) -> Attended:
    """Attend to all of `keys` that the queries see; `positions` are those of the queries.

    A query that sees none of them has a `log_mass` so low that they count for nothing beside other
    parts.
    """

    def block(_, at: Callable[..., Any], visible: Keys, start):
        here = at(queries), at(positions)
        attended = attend_to_block(*here, visible, window, drop.fold_in(start))
        return None, attended._replace(mixed=attended.mixed.astype(visible.value.dtype))

    _, attended = _in_blocks(block, None, queries, keys, window)
    return attended


def attend_to_block(
    queries: Queries, positions: Positions, keys: Keys, window: int | None, drop: Dropout
) -> Attended:
    """Attend as `attend`, with the scores of all queries and keys at once; `mixed` is float32."""
    scores = _scores(queries, positions, keys, window)
    largest = scores.max(axis=-1).swapaxes(1, 2)  # B T N
    mixed, mass = _weighted_sums(scores, largest, keys.value, drop)
    return Attended(mixed / mass[..., None], largest + jnp.log(mass))


def weights(
    queries: Queries, positions: Positions, keys: Keys, window: int | None
) -> Float[Array, "B N T S"]:
    """Return the weights with which `attend` sums the values, all of them at once, in float32."""
    return jax.nn.softmax(_scores(queries, positions, keys, window), axis=-1)


def join(a: Attended, b: Attended) -> Attended:
    """Return the result of attention to the keys of both; `mixed` is in float32."""
    log_mass = jnp.logaddexp(a.log_mass, b.log_mass)

    def share(part: Attended) -> Array:
        return part.mixed * jnp.exp(part.log_mass - log_mass)[..., None]

    return Attended(share(a) + share(b), log_mass)


def gradient(
    queries: Queries,
    positions: Positions,
    keys: Keys,
    window: int | None,
    drop: Dropout,
    attended: Attended,
    d_mixed: Float[Array, "B T N H"],
) -> Gradient:
    """Return the gradient of `attend`; those of keys and values are in float32.

    If `keys` are a part of what the queries see, `attended` is still the result for all of it.
    """
    # The softmax's own gradient: each score moves the sum of all weights, which must stay 1.
    d_mass = -jnp.einsum(
        "btnh,btnh->btn", attended.mixed, d_mixed, preferred_element_type=jnp.float32
    )
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.float32), (keys.key, keys.value, keys.distance_keys)
    )

    def block(total, at: Callable[..., Any], visible: Keys, start):
        here, log_mass, *d_sums = at((positions, attended.log_mass, d_mixed, d_mass))

        def sums(content, distance, key, value, distance_keys):
            seen = dataclasses.replace(visible, key=key, value=value, distance_keys=distance_keys)
            scores = _scores(Queries(content, distance), here, seen, window)
            return _weighted_sums(scores, log_mass, value, drop.fold_in(start))

        inputs = (*at(queries), visible.key, visible.value, visible.distance_keys)
        _, pull_back = jax.vjp(sums, *inputs)
        d_content, d_distance, *d_keys, d_distance_keys = pull_back(
            (d_sums[0].astype(jnp.float32), d_sums[1])
        )
        *of_keys, of_distances = total
        begin = keys.query_offset + start - visible.query_offset
        of_keys = [_add_at(all_keys, d, begin) for all_keys, d in zip(of_keys, d_keys, strict=True)]
        if of_distances is not None:
            of_distances += d_distance_keys.astype(jnp.float32)
        return (*of_keys, of_distances), (d_content, d_distance)

    d_keys, d_queries = _in_blocks(block, zeros, queries, keys, window)
    return Gradient(*d_queries, *d_keys)


def block_size(num_keys: int, window: int | None) -> int:
    """Return how many queries to score at a time.

    This is a quarter of the sequence, which leaves out 3/8 of dense attention. With a window, it is
    at most the window, so that the cost of the layer grows with the window and not with the
    sequence. It is always a multiple of SMALLEST_BLOCK, up to LARGEST_BLOCK. Measured on a CPU,
    forward and backward: 1.8x faster than one block at 2,048 tokens; at 256 tokens, two blocks take
    5 % off the whole step of GPT-2 124M.
    """
    target = num_keys // 4 if window is None else min(window, num_keys // 4)
    num_smallest = max(1, target // SMALLEST_BLOCK)
    return min(num_smallest * SMALLEST_BLOCK, LARGEST_BLOCK)


def _scores(
    queries: Queries, positions: Positions, keys: Keys, window: int | None
) -> Float[Array, "B N T S"]:
    """Return the scores in float32; where a query does not see a key, the lowest number."""
    b, t, n, h = queries.content.shape
    s, k = keys.key.shape[1:3]
    g = n // k
    # The G query heads of a group and their T tokens are the R = G T rows of one product.
    rows = queries.content.reshape(b, t, k, g, h)
    rows = rows.transpose(0, 2, 3, 1, 4).reshape(b, k, g * t, h)  # B K R H
    scores = product("bkrh,bksh->bkrs", rows, keys.key.transpose(0, 2, 1, 3))
    scores = scores.reshape(b, n, t, s)
    if queries.distance is not None:
        assert keys.distance_keys is not None
        scores += distance_scores(queries.distance, keys.distance_keys, keys.query_offset, s)
    mask = causal_mask(positions, keys.positions, window)[:, None]  # B 1 T S
    return jnp.where(mask, scores, jnp.finfo(scores.dtype).min)


def _weighted_sums(
    scores: Float[Array, "B N T S"],
    reference: Float[Array, "B T N"],
    value: Float[Array, "B S K H"],
    drop: Dropout,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B T N"]]:
    """Return the sums over keys of values times exp(score - reference), and of that alone."""
    b, n, t, s = scores.shape
    k, h = value.shape[2:]
    weights = jnp.exp(scores - reference.swapaxes(1, 2)[..., None])
    mass = weights.sum(axis=-1).swapaxes(1, 2)  # B T N
    weights = dropout(weights.astype(value.dtype), drop.rate, drop.key)
    weights = weights.reshape(b, k, n // k * t, s)  # B K R S
    mixed = product("bkrs,bksh->bkrh", weights, value.transpose(0, 2, 1, 3))
    return mixed.reshape(b, n, t, h).transpose(0, 2, 1, 3), mass


def _in_blocks(
    block: Callable[..., tuple[Any, Any]],
    carry: Any,
    queries: Queries,
    keys: Keys,
    window: int | None,
) -> tuple[Any, Any]:
    """Return the last carry of `block`, and its results for all blocks side by side.

    `block` gets the carry, a function that slices its tokens from a tree of arrays [B, T, ...], the
    keys that these see, and the number of its first token.
    """
    num_queries, num_keys = queries.content.shape[1], keys.key.shape[1]
    size, offset = block_size(num_keys, window), keys.query_offset

    def run(carry, start, length: int, keys: Keys):
        here = dataclasses.replace(keys, query_offset=offset + start)
        visible = here.visible_to(length, window)
        return block(carry, lambda tree: slice_tokens(tree, start, length), visible, start)

    results, num_whole = [], num_queries // size
    looped = num_whole * size if num_whole > MOST_UNROLLED else 0
    if looped:
        per_span = -(-num_whole // NUM_SPANS) * size
        for start in range(0, looped, per_span):
            stop = min(start + per_span, looped)
            seen = keys.visible_to(stop, None)

            def run_next(carry, start, seen=seen):
                return run(carry, start, size, seen)

            carry, stacked = jax.lax.scan(run_next, carry, jnp.arange(start, stop, size))
            results.append(jax.tree.map(_join, stacked))
    for start in range(looped, num_queries, size):
        carry, result = run(carry, start, min(size, num_queries - start), keys)
        results.append(result)
    if len(results) == 1:
        return carry, results[0]
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *results)


def _join(blocks: Array) -> Array:
    """Return blocks [number, B, T, ...] side by side as [B, number T, ...]."""
    number, b, t, *rest = blocks.shape
    return jnp.moveaxis(blocks, 0, 1).reshape(b, number * t, *rest)


def _add_at(total: Array, part: Array, begin: int | Int[Array, ""]) -> Array:
    """Return the total [B, S, ...] after adding a part to its columns from `begin`."""
    before = jax.lax.dynamic_slice_in_dim(total, begin, part.shape[1], axis=1)
    after = before + part.astype(total.dtype)
    return jax.lax.dynamic_update_slice_in_dim(total, after, begin, axis=1)
