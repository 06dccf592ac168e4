"""Dense layers: initialisation, the matrix product, and its gradient."""

import functools
import math
from typing import Literal, assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.axes import constrain
from models.config import FanIn, ModelConfig, Normal

Axes = tuple[str, str]
"""Logical names of a kernel's two axes."""

Role = Literal["kernel", "residual", "embedding", "position"]
"""What a matrix does, as far as its initialisation cares; `residual` writes to the residual stream."""


def init_std(config: ModelConfig, role: Role, fan_in: int) -> float:
    """Standard deviation of a matrix's initial values under the config's rule."""
    match config.init:
        case Normal(std=std, position_std=position_std, residual=residual):
            if role == "position" and position_std is not None:
                return position_std
            if role == "residual" and residual == "scaled_by_depth":
                return std / math.sqrt(2 * config.num_layers)
            return std
        case FanIn(embedding_std=embedding_std):
            return embedding_std if role in ("embedding", "position") else fan_in**-0.5
        case _:
            assert_never(config.init)


def matrix(
    config: ModelConfig,
    shape: tuple[int, ...],
    axes: tuple[str, ...],
    *,
    role: Role,
    fan_in: int,
    rngs: nnx.Rngs,
) -> nnx.Param:
    """A float32 parameter of `shape` with logical `axes`, drawn by the config's rule."""
    value = init_std(config, role, fan_in) * jax.random.normal(rngs.params(), shape)
    return nnx.Param(value, out_sharding=axes, eager_sharding=False)


def vector(value: float, shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
    """A float32 scale or bias that starts at `value`."""
    # With its dtype: a weakly typed array would come back from a step as another type, and the next
    # step would be compiled again.
    return nnx.Param(jnp.full(shape, value, jnp.float32), out_sharding=axes, eager_sharding=False)


class Linear(nnx.Module):
    """y = x W + b, from the last axes of x, `in_shape`, to `out_shape`. The bias is optional."""

    def __init__(
        self,
        config: ModelConfig,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        axes: tuple[str, ...],
        *,
        role: Role = "kernel",
        use_bias: bool,
        rngs: nnx.Rngs,
    ):
        self.num_in = len(in_shape)
        # Of the kernel as a matrix: several heads lie side by side, so the heads' axis is split.
        self.axes = (axes[0], axes[self.num_in])
        fan_in = math.prod(in_shape)
        self.kernel = matrix(
            config, in_shape + out_shape, axes, role=role, fan_in=fan_in, rngs=rngs
        )
        self.bias = vector(0.0, out_shape, axes[self.num_in :]) if use_bias else None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        kernel = self.kernel[...]
        in_shape, out_shape = kernel.shape[: self.num_in], kernel.shape[self.num_in :]
        batch_shape = x.shape[: x.ndim - self.num_in]
        y = matmul(x.reshape(*batch_shape, -1), kernel.reshape(math.prod(in_shape), -1), self.axes)
        y = y.reshape(*batch_shape, *out_shape)
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)


def matmul(
    x: Float[Array, "*batch I"], kernel: Float[Array, "I O"], axes: Axes
) -> Float[Array, "*batch O"]:
    """x W in x's precision, with float32 accumulation; `axes` are the kernel's.

    The product is taken over flat tokens, [tokens, I]: XLA's CPU backend is 1.3x (float32) to 2.7x
    (bfloat16) slower on the weight gradient of a [B, T, I] product.
    """
    out: jax.Array = _matmul(x.reshape(-1, x.shape[-1]), kernel, 0, x.dtype, axes)
    return out.reshape(*x.shape[:-1], -1)


def matmul_transposed(
    x: Float[Array, "*batch I"], kernel: Float[Array, "O I"], axes: Axes
) -> Float[Array, "*batch O"]:
    """x W^T in x's precision, with float32 accumulation and a float32 result: no transposed copy of a
    large table is ever made, forward or backward."""
    out: jax.Array = _matmul(x.reshape(-1, x.shape[-1]), kernel, 1, jnp.dtype(jnp.float32), axes)
    return out.reshape(*x.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _matmul(
    x: jax.Array, kernel: jax.Array, in_axis: int, dtype: jnp.dtype, axes: Axes
) -> jax.Array:
    """Contract x's last axis with the kernel's `in_axis`."""
    return _dot(_split(x, axes[in_axis]), _gather(kernel, x.dtype, axes), 1, in_axis).astype(dtype)


def _matmul_forward(x, kernel, in_axis, dtype, axes):
    return _matmul(x, kernel, in_axis, dtype, axes), (x, kernel)


def _matmul_backward(in_axis, dtype, axes, saved, d_out):
    # Written out because autodiff would multiply a float32 cotangent with bfloat16 operands, and
    # would round the weight gradient to bfloat16 on its way to the float32 parameter.
    x, kernel = saved
    d_out = _split(d_out.astype(x.dtype), axes[1 - in_axis])
    d_x = _dot(d_out, _gather(kernel, x.dtype, axes), 1, 1 - in_axis)
    x = _split(x, axes[in_axis])
    d_kernel = _sum_over_tokens(x, d_out) if in_axis == 0 else _sum_over_tokens(d_out, x)
    return d_x.astype(x.dtype), constrain(d_kernel.astype(kernel.dtype), *axes)


def _gather(kernel: jax.Array, dtype: jnp.dtype, axes: Axes) -> jax.Array:
    """The kernel in the products' precision, all-gathered along the axis that fsdp splits.

    Said rather than left to the partitioner: given a kernel split both ways and an output that is to
    be split along D, XLA's (jaxlib 0.10.2) multiplied the wrong rows without a word.
    """
    return constrain(kernel.astype(dtype), *(None if axis == "embed" else axis for axis in axes))


def _split(x: jax.Array, axis: str) -> jax.Array:
    """Tokens whole along D, or split along heads, d_ff or the vocabulary as their kernel is."""
    return constrain(x, ..., None if axis == "embed" else axis)


def _sum_over_tokens(a: jax.Array, b: jax.Array) -> jax.Array:
    """a^T b of [tokens, I] and [tokens, O]."""
    if a.dtype != jnp.bfloat16:
        return _dot(a, b, 0, 0)

    def transposed_first(a: jax.Array, b: jax.Array) -> jax.Array:
        # XLA's CPU backend multiplies bfloat16 on the matrix units (AMX) only where the sum runs
        # along the rows of `a`: 4 to 5 times faster. A vector in between keeps XLA from undoing it.
        rows = jax.lax.optimization_barrier(a.T.reshape(-1)).reshape(a.shape[::-1])
        return _dot(rows, b, 1, 0)

    return jax.lax.platform_dependent(
        a, b, cpu=transposed_first, default=lambda a, b: _dot(a, b, 0, 0)
    )


def _dot(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    axes = (((a_axis,), (b_axis,)), ((), ()))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


_matmul.defvjp(_matmul_forward, _matmul_backward)
