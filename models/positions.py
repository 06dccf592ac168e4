"""How a model knows where a token stands."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.config import Rotary, SlowedRotation


def rotate(
    x: Float[Array, "B T heads H"], positions: Int[Array, "B T"], rotary: Rotary
) -> Float[Array, "B T heads H"]:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864, equation 34).

    Coordinates i and i + H/2 form a pair, turned by `positions * theta^(-2i/H)` radians, so that the
    product of a query and a key depends only on the distance between them. The paper pairs 2i with
    2i + 1: the same function after a fixed permutation of W_q's and W_k's columns.
    """
    half = x.shape[-1] // 2
    frequencies = rotary.theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if rotary.slowed is not None:
        frequencies = slow_down(frequencies, rotary.slowed)
    angles = positions[:, :, None, None].astype(jnp.float32) * frequencies  # B T 1 H/2
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def slow_down(
    frequencies: Float[Array, " pairs"], slowed: SlowedRotation
) -> Float[Array, " pairs"]:
    """(s + (1 - s) / factor) f, where s rises from 0 for slow to 1 for fast pairs, linearly in the
    number of turns that f makes over the original length. Radians per position, in and out."""
    turns = frequencies * slowed.original_length / (2 * math.pi)
    s = jnp.clip((turns - slowed.slow_turns) / (slowed.fast_turns - slowed.slow_turns), 0, 1)
    return (s + (1 - s) / slowed.factor) * frequencies


def sinusoids(length: int, d_model: int) -> Float[Array, "length D"]:
    """Row m: the sines, then the cosines, of m / 10000^(2i/D) (Vaswani et al. 2017, section 3.5).

    The order of the columns, which the papers leave open, is Transformer-XL's code's.
    """
    half = d_model // 2
    frequencies = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def distance_scores(
    query: Float[Array, "B T N H"],
    distance_keys: Float[Array, "M N H"],
    first: int | Int[Array, ""],
    num_keys: int,
) -> Float[Array, "B N T S"]:
    """Score [t, s] = query_t . distance_keys[first + t - s]: query t stands at key `first + t`.

    Keys that come after their query get an arbitrary score; the caller masks them. Every query is
    multiplied once with every distance, which gives row t in the order of distances; reading the
    matrix as rows that are one column shorter then moves each row one column further to the left
    (Transformer-XL, Dai et al. 2019, appendix B): nothing of size T S H is ever made.
    """
    b, t, n, _ = query.shape
    # Column c is the distance first + T - 1 - c, in all S + T columns; zeros stand for those below 0.
    padding = jnp.zeros((num_keys, *distance_keys.shape[1:]), distance_keys.dtype)
    far_to_near = jnp.concatenate([distance_keys[::-1], padding])
    start = distance_keys.shape[0] - first - t
    far_to_near = jax.lax.dynamic_slice_in_dim(far_to_near, start, num_keys + t)
    scores = jnp.einsum("btnh,mnh->bntm", query, far_to_near, preferred_element_type=jnp.float32)
    width = num_keys + t - 1
    shifted = scores.reshape(b, n, -1)[:, :, t - 1 : t - 1 + t * width].reshape(b, n, t, width)
    return shifted[..., :num_keys]
