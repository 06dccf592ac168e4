"""How a model knows where a token stands."""

import math

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
