"""Normalisation of the residual stream, in float32 whatever the precision of the run."""

from typing import assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models import config as c
from models.linear import vector


class Norm(nnx.Module):
    """The config's norm: LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019)."""

    def __init__(self, config: c.ModelConfig):
        self.choice = config.norm
        self.scale = vector(1.0, (config.d_model,), ("embed",))
        has_bias = isinstance(config.norm, c.LayerNorm) and "norm" in config.biases
        self.bias = vector(0.0, (config.d_model,), ("embed",)) if has_bias else None

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        y = x.astype(jnp.float32)
        match self.choice:
            case c.LayerNorm(eps=eps):
                y = y - jnp.mean(y, axis=-1, keepdims=True)
                y = y * jax.lax.rsqrt(jnp.mean(y**2, axis=-1, keepdims=True) + eps)
            case c.RMSNorm(eps=eps):
                y = y * jax.lax.rsqrt(jnp.mean(y**2, axis=-1, keepdims=True) + eps)
            case _:
                assert_never(self.choice)
        y = y * self.scale[...]
        if self.bias is not None:
            y = y + self.bias[...]
        return y.astype(x.dtype)
