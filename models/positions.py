"""Token positions and everything computed from them: the mask, rotations, scores by distance."""

import dataclasses
import math
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models.config import Bucketed, Rotary, SlowedRotation
from models.linear import product

Tree = TypeVar("Tree")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Positions:
    """The document of every token of a batch, and the token's index in that document."""

    index: Int[Array, "B T"]
    """Index in the token's document, from 0. The tokens of a document are contiguous, so the
    distance between two of them is also the distance between their columns."""
    segment_ids: Int[Array, "B T"]
    """Number of the token's document in its row, from 1; 0 is padding."""

    @classmethod
    def whole_rows(cls, batch_size: int, seq_len: int) -> "Positions":
        """Return the positions of rows that are one document each, without padding."""
        index = jnp.broadcast_to(jnp.arange(seq_len), (batch_size, seq_len))
        return cls(index, jnp.ones_like(index))


def slice_tokens(tree: Tree, start: int | Int[Array, ""], length: int) -> Tree:
    """Return the columns from `start` to `start + length - 1` of every array [B, T, ...]."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, length, axis=1), tree)


def causal_mask(
    query: Positions, key: Positions, window: int | None = None
) -> Bool[Array, "B T S"]:
    """Return True where a query attends to a key.

    A token sees the tokens of its own document that do not come after it; with a window, only the
    last `window` of these, itself included.
    """
    same_document = query.segment_ids[:, :, None] == key.segment_ids[:, None, :]
    distance = query.index[:, :, None] - key.index[:, None, :]
    mask = same_document & (distance >= 0)
    return mask if window is None else mask & (distance < window)


def both_sides_mask(query: Positions, key: Positions) -> Bool[Array, "B T S"]:
    """Return True where a query attends to a key: a token sees all tokens of its own document."""
    return query.segment_ids[:, :, None] == key.segment_ids[:, None, :]


def rotate(
    x: Float[Array, "B T heads H"], index: Int[Array, "B T"], rotary: Rotary
) -> Float[Array, "B T heads H"]:
    """Apply the rotary position embedding (Su et al. 2021, arXiv 2104.09864, equation 34).

    Coordinates i and i + H/2 form a pair, which is rotated by `index * theta^(-2i/H)` radians, so
    the product of a query and a key depends only on the distance between them. The paper pairs 2i
    with 2i + 1: the same function after a fixed permutation of the columns of W_q and W_k.
    """
    half = x.shape[-1] // 2
    frequencies = rotary.theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if rotary.slowed is not None:
        frequencies = slow_down(frequencies, rotary.slowed)
    angles = index[:, :, None, None].astype(jnp.float32) * frequencies  # B T 1 H/2
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)  # B T heads H/2
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


def slow_down(
    frequencies: Float[Array, " pairs"], slowed: SlowedRotation
) -> Float[Array, " pairs"]:
    """Return the frequencies f as (s + (1 - s) / factor) f, in radians per position.

    s rises from 0 for slow pairs to 1 for fast ones, linearly in the number of turns that f makes
    over the original length.
    """
    turns = frequencies * slowed.original_length / (2 * math.pi)
    s = jnp.clip((turns - slowed.slow_turns) / (slowed.fast_turns - slowed.slow_turns), 0, 1)
    return (s + (1 - s) / slowed.factor) * frequencies


def sinusoids(numbers: Int[Array, "*shape"], d_model: int) -> Float[Array, "*shape D"]:
    """Return the sines, then the cosines, of m / 10000^(2i/D) for each number m.

    From Vaswani et al. 2017, section 3.5. The papers leave the order of the columns open; this is
    the order of Transformer-XL's code, and of the code of Vaswani et al.
    """
    half = d_model // 2
    frequencies = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = numbers[..., None].astype(jnp.float32) * frequencies  # shape D/2
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def buckets(
    distance: Int[Array, "*shape"], choice: Bucketed, *, both_sides: bool
) -> Int[Array, "*shape"]:
    """Return the bucket of each distance from a query back to a key (Raffel et al. 2020, 2.1).

    Half of the buckets hold one distance each; those of the others grow as logarithms up to
    `max_distance`.

    Args:
      both_sides: keys after the query, at distances below 0, have half of all buckets; otherwise
        they have the bucket of distance 0.
    """
    num = choice.num_buckets // 2 if both_sides else choice.num_buckets
    size = jnp.abs(distance) if both_sides else jnp.maximum(distance, 0)
    exact = num // 2
    growth = jnp.log(jnp.maximum(size, 1) / exact) / math.log(choice.max_distance / exact)
    shared = jnp.minimum(exact + (growth * (num - exact)).astype(jnp.int32), num - 1)
    side = jnp.where(distance < 0, num, 0) if both_sides else 0
    return side + jnp.where(size < exact, size, shared)


def distance_scores(
    query: Float[Array, "B T N E"],
    distance_keys: Float[Array, "M N E"],
    query_offset: int | Int[Array, ""],
    num_keys: int,
) -> Float[Array, "B N T S"]:
    """Return score [t, s] = query_t . distance_keys[query_offset + t - s].

    Query t is the token of key `query_offset + t`; the offset is at least 1 - T. A key that comes
    after its query gets an arbitrary score, which the caller masks. Each query is multiplied once
    with each distance, which gives row t in the order of distances. Reading that matrix as rows
    that are one column shorter then shifts each row one column further to the left (Transformer-XL,
    Dai et al. 2019, appendix B), so no array of size T S E is made.
    """
    b, t, n, _ = query.shape
    s = num_keys
    # Column c of S + T is the distance query_offset + T - 1 - c; negative distances are zeros.
    padding = jnp.zeros((s + t - 1, *distance_keys.shape[1:]), distance_keys.dtype)
    far_to_near = jnp.concatenate([distance_keys[::-1], padding])  # (M + S + T - 1) N H
    start = distance_keys.shape[0] - query_offset - t
    far_to_near = jax.lax.dynamic_slice_in_dim(far_to_near, start, s + t)  # (S + T) N H
    scores = product("btnh,mnh->bntm", query, far_to_near)
    width = s + t - 1
    flat = scores.reshape(b, n, -1)[:, :, t - 1 : t - 1 + t * width]  # B N T(S + T - 1)
    return flat.reshape(b, n, t, width)[..., :s]
