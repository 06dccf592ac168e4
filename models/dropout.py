"""Dropout (Srivastava et al. 2014); without a key it does nothing."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(
    x: Float[Array, "*shape"], rate: float, key: Key[Array, ""] | None
) -> Float[Array, "*shape"]:
    """Zero each entry with probability `rate` and scale the rest by 1 / (1 - rate)."""
    if key is None or rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def split_key(key: Key[Array, ""] | None, num: int) -> Key[Array, " num"] | list[None]:
    """Return `num` independent keys; without a key, `num` times None."""
    return [None] * num if key is None else jax.random.split(key, num)
