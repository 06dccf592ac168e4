"""How a model knows where a token stands."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def rotate(
    x: Float[Array, "B T heads H"], positions: Int[Array, "B T"], theta: float
) -> Float[Array, "B T heads H"]:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864, equation 34).

    Coordinates i and i + H/2 form a pair, turned by `positions * theta^(-2i/H)` radians, so that the
    product of a query and a key depends only on the distance between them. The paper pairs 2i with
    2i + 1: the same function after a fixed permutation of W_q's and W_k's columns.
    """
    half = x.shape[-1] // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[:, :, None, None].astype(jnp.float32) * frequencies  # B T 1 H/2
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
