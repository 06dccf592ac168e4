"""Parameters in the precision in which they are stored, and stochastic rounding to it."""

from typing import assert_never, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, BFloat16, Float32, Key

from configs.experiment import ParamDtype


def cast_params(params: nnx.State, dtype: ParamDtype) -> nnx.State:
    """Return the parameters in `dtype`, rounded to the nearest value if it is the shorter one."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params)


def store(params: nnx.State, dtype: ParamDtype, key: Key[Array, ""]) -> nnx.State:
    """Return updated float32 parameters as the next step finds them.

    bfloat16 is rounded to stochastically: most updates are smaller than half the distance between
    two bfloat16 values, and rounding to the nearest would lose them all.
    """
    match dtype:
        case "float32":
            return params
        case "bfloat16":
            leaves, structure = jax.tree.flatten(params)
            keys = jax.random.split(key, len(leaves))
            rounded = [round_stochastically(*pair) for pair in zip(leaves, keys, strict=True)]
            return cast(nnx.State, jax.tree.unflatten(structure, rounded))
        case _:
            assert_never(dtype)


def round_stochastically(
    x: Float32[Array, "*shape"], key: Key[Array, ""]
) -> BFloat16[Array, "*shape"]:
    """Round to one of the two nearest bfloat16 values, so that the expected value is x.

    bfloat16 is the upper half of a float32. A random number added to the lower half carries into
    the upper half with the probability that the lower half, as a fraction, gives. A value that
    bfloat16 can hold has an empty lower half and stays the same.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper_half = ((bits + noise) >> 16).astype(jnp.uint16)
    rounded = jax.lax.bitcast_convert_type(upper_half, jnp.bfloat16)
    # A carry could turn a NaN into a number.
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))
