"""Dense layers and the output layer: initialisation, the matrix product, and its gradient."""

import dataclasses
import functools
import math
import re
from typing import Literal, assert_never, no_type_check

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from models.axes import constrain
from models.config import FanIn, ModelConfig, Normal, TruncatedNormal
from models.int8 import Int8Matrix, rows, to_int8
from models.int8 import product as int8_product

Axes = tuple[str, str]
"""Logical names of the two axes of a kernel."""

Role = Literal["kernel", "residual", "embedding", "position"]
"""The use of a matrix, which decides its initial values; `residual` feeds the residual stream."""


def init_std(config: ModelConfig, role: Role, fan_in: int) -> float:
    """Return the standard deviation of a matrix's initial values by the config's rule."""
    match config.init:
        case Normal(std=std, position_std=position_std, residual=residual):
            if role == "position" and position_std is not None:
                return position_std
            if role == "residual" and residual == "scaled_by_depth":
                return std / math.sqrt(2 * config.num_layers)
            return std
        case TruncatedNormal(std=std):
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
    """Return a float32 parameter of `shape` with logical `axes`, drawn by the config's rule."""
    if isinstance(config.init, TruncatedNormal):
        drawn = jax.random.truncated_normal(rngs.params(), -2, 2, shape)
    else:
        drawn = jax.random.normal(rngs.params(), shape)
    value = init_std(config, role, fan_in) * drawn
    return nnx.Param(value, out_sharding=axes, eager_sharding=False)


def vector(value: float, shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
    """Return a float32 scale or bias that starts at `value`."""
    # The dtype is explicit because a weakly typed array would change its type in the first step,
    # and the second step would be compiled again.
    return nnx.Param(jnp.full(shape, value, jnp.float32), out_sharding=axes, eager_sharding=False)


def embedding_scale(config: ModelConfig) -> float:
    """Return the factor by which the embeddings of tokens are multiplied."""
    match config.embedding_scale:
        case "one":
            return 1.0
        case "sqrt_d_model":
            return math.sqrt(config.d_model)
        case _:
            assert_never(config.embedding_scale)


def table_for_products(table: nnx.Param) -> jax.Array | Int8Matrix:
    """Return a table of V rows, in float32 unless it is int8."""
    value: jax.Array | Int8Matrix = table.get_value()
    if isinstance(value, Int8Matrix):
        return value
    return constrain(value.astype(jnp.float32), "vocab", "embed")


def whole_rows(table: jax.Array | Int8Matrix) -> jax.Array | Int8Matrix:
    """Return a table all-gathered along fsdp, whose rows a product reads."""
    if isinstance(table, Int8Matrix):
        return dataclasses.replace(table, values=constrain(table.values, "vocab", None))
    return constrain(table, "vocab", None)


def lookup(
    table: Float[Array, "V D"] | Int8Matrix, tokens: Int[Array, "B T"]
) -> Float[Array, "B T D"]:
    """Return the rows of the tokens.

    The devices along fsdp each look up the tokens of all of them in their own part of D, and then
    exchange what they found. With fewer tokens than V on a device, that moves fewer bytes than the
    table has. The lookup gathers neither the table nor its gradient.
    """
    tokens = constrain(tokens, "shared_batch", "length")
    found = constrain(rows(table, tokens), "shared_batch", "length", "embed")
    return constrain(found, "batch", "length", None)


class Linear(nnx.Module):
    """y = x W + b, from the last axes of x, `in_shape`, to `out_shape`; the bias is optional."""

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
        self.in_shape, self.out_shape = in_shape, out_shape
        # Axes of the kernel as a matrix [I, O]. Heads are contiguous in it, so where I or O merges
        # heads and head_dim, it is sharded as heads.
        self.axes = (axes[0], axes[len(in_shape)])
        fan_in = math.prod(in_shape)
        self.kernel = matrix(
            config, in_shape + out_shape, axes, role=role, fan_in=fan_in, rngs=rngs
        )
        self.bias = vector(0.0, out_shape, axes[len(in_shape) :]) if use_bias else None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        kernel: jax.Array | Int8Matrix = self.kernel.get_value()
        if not isinstance(kernel, Int8Matrix):
            kernel = kernel.reshape(math.prod(self.in_shape), -1)
        batch_shape = x.shape[: x.ndim - len(self.in_shape)]
        y = matmul(x.reshape(*batch_shape, -1), kernel, self.axes)
        # Rematerialisation knows the product by the name of its axis: it does not see the product
        # itself, which is inside a custom gradient.
        y = checkpoint_name(y, self.axes[1])
        y = y.reshape(*batch_shape, *self.out_shape)
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)

    def store_as_int8(self) -> None:
        """Replace the kernel, or a stack of kernels, by the nearest int8 matrix [O, I]."""
        kernel = self.kernel[...]
        layers = kernel.shape[: kernel.ndim - len(self.in_shape + self.out_shape)]
        matrix = kernel.reshape(*layers, math.prod(self.in_shape), -1).swapaxes(-1, -2)
        stack_axes = self.kernel.get_metadata("out_sharding")[: len(layers)]
        self.kernel = nnx.Param(
            to_int8(matrix), out_sharding=(*stack_axes, *self.axes[::-1]), eager_sharding=False
        )


def matmul(
    x: Float[Array, "*batch I"], kernel: Float[Array, "I O"] | Int8Matrix, axes: Axes
) -> Float[Array, "*batch O"]:
    """Return x W in x's precision, accumulated in float32; `axes` are those of W, [I, O].

    The product is taken over flat tokens [B T, I]: on a [B, T, I] product, XLA's CPU backend is
    1.3x (float32) to 2.7x (bfloat16) slower in the weight gradient.
    """
    if isinstance(kernel, Int8Matrix):
        return _int8_matmul(x, kernel, (axes[1], axes[0])).astype(x.dtype)
    out: jax.Array = _matmul(x.reshape(-1, x.shape[-1]), kernel, 0, x.dtype, axes)
    return out.reshape(*x.shape[:-1], -1)


def matmul_transposed(
    x: Float[Array, "*batch I"], kernel: Float[Array, "O I"] | Int8Matrix, axes: Axes
) -> Float[Array, "*batch O"]:
    """Return x W^T in float32, computed in x's precision and accumulated in float32.

    No transposed copy of a large table is made, forward or backward.
    """
    if isinstance(kernel, Int8Matrix):
        return _int8_matmul(x, kernel, axes)
    out: jax.Array = _matmul(x.reshape(-1, x.shape[-1]), kernel, 1, jnp.dtype(jnp.float32), axes)
    return out.reshape(*x.shape[:-1], -1)


def _int8_matmul(x: jax.Array, matrix: Int8Matrix, axes: Axes) -> jax.Array:
    """Return x W^T in float32; `axes` are those of the rows and the columns of W."""
    flat = _shard_features(x.reshape(-1, x.shape[-1]), axes[1])
    values = _gather(matrix.values, matrix.values.dtype, axes)
    y = int8_product(flat, values) * matrix.scales
    return y.reshape(*x.shape[:-1], -1)


@no_type_check  # at run time: jax.custom_vjp fills the tree with placeholders to find its structure
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Head:
    """The output layer, from hidden states to logits, as a tree of only the arrays that it uses.

    A loss can then take its gradient without touching the other parameters.
    """

    table: Float[Array, "V D"] | Int8Matrix
    bias: Float[Array, " V"] | None
    scale: float = dataclasses.field(metadata={"static": True})

    def __call__(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Return the scores of the next token, in float32."""
        logits = matmul_transposed(hidden, self.table, ("vocab", "embed")) * self.scale
        return logits if self.bias is None else logits + self.bias


def product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Return einsum(equation, a, b) of two activations, accumulated in float32.

    So is its gradient, from operands in a's and b's precision. No letter may stand in one operand
    alone.
    """
    # jax.custom_vjp hides the types of the function that it wraps; this one shows them.
    out: jax.Array = _product(equation, a, b)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _product_forward(equation, a, b):
    return _product(equation, a, b), (a, b)


def _product_backward(equation, saved, d_out):
    # Written by hand because autodiff would multiply a float32 cotangent with bfloat16 operands.
    a, b = saved
    of_a, of_b, of_out = re.split(",|->", equation)
    d_out = d_out.astype(a.dtype)
    d_a = product(f"{of_out},{of_b}->{of_a}", d_out, b)
    d_b = product(f"{of_out},{of_a}->{of_b}", d_out, a)
    return d_a.astype(a.dtype), d_b.astype(b.dtype)


_product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _matmul(
    x: jax.Array, kernel: jax.Array, in_axis: int, dtype: jnp.dtype, axes: Axes
) -> jax.Array:
    """Contract x's last axis with the kernel's `in_axis`."""
    x, kernel = _shard_features(x, axes[in_axis]), _gather(kernel, x.dtype, axes)
    return _dot(x, kernel, 1, in_axis).astype(dtype)


def _matmul_forward(x, kernel, in_axis, dtype, axes):
    return _matmul(x, kernel, in_axis, dtype, axes), (x, kernel)


def _matmul_backward(in_axis, dtype, axes, saved, d_out):
    # Written by hand because autodiff would multiply a float32 cotangent with bfloat16 operands,
    # and would round the weight gradient to bfloat16 before it reaches the float32 parameter.
    x, kernel = saved
    d_out = _shard_features(d_out.astype(x.dtype), axes[1 - in_axis])
    d_x = _dot(d_out, _gather(kernel, x.dtype, axes), 1, 1 - in_axis)
    x = _shard_features(x, axes[in_axis])
    d_kernel = _weight_gradient(x, d_out) if in_axis == 0 else _weight_gradient(d_out, x)
    return d_x.astype(x.dtype), constrain(d_kernel.astype(kernel.dtype), *axes)


def _gather(kernel: jax.Array, dtype: jnp.dtype, axes: Axes) -> jax.Array:
    """Return the kernel in the precision of the product, all-gathered along fsdp's axis.

    The constraint is explicit because the partitioner goes wrong without it: given a kernel split
    along both axes and an output to be split along D, XLA (jaxlib 0.10.2) multiplied the wrong rows
    and reported nothing.
    """
    return constrain(kernel.astype(dtype), *(None if axis == "embed" else axis for axis in axes))


def _shard_features(x: jax.Array, axis: str) -> jax.Array:
    """Return x whole along D, or sharded along heads, d_ff or vocabulary as the kernel is."""
    return constrain(x, ..., None if axis == "embed" else axis)


def _weight_gradient(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a^T b, the sum over tokens, of a [B T, I] and b [B T, O]."""
    if a.dtype != jnp.bfloat16:
        return _dot(a, b, 0, 0)

    def transpose_first(a: jax.Array, b: jax.Array) -> jax.Array:
        # XLA's CPU backend multiplies bfloat16 on the matrix units (AMX), 4 to 5 times faster, only
        # if the sum runs along the rows of `a`. Without the detour through a vector, XLA would
        # undo the transposition.
        rows = jax.lax.optimization_barrier(a.T.reshape(-1)).reshape(a.shape[::-1])
        return _dot(rows, b, 1, 0)

    return jax.lax.platform_dependent(
        a, b, cpu=transpose_first, default=lambda a, b: _dot(a, b, 0, 0)
    )


def _dot(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    """Contract `a_axis` of a with `b_axis` of b in float32."""
    axes = (((a_axis,), (b_axis,)), ((), ()))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


_matmul.defvjp(_matmul_forward, _matmul_backward)
