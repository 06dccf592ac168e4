"""Matrices with one byte per entry, for inference: decoding reads all of them for every token."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8

FEW_ROWS = 128
"""Rows of x up to which a product of int8 is faster on a CPU than one of floats."""
BASE = 254


@no_type_check  # at run time: a plan has shapes and shardings in the place of arrays
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8Matrix:
    """W = diag(scales) values, with the outputs of a product along the rows of W.

    Symmetric, with a scale per output (Krishnamoorthi 2018, arXiv 1806.08342): the largest entry of
    a row is 127 or -127. The matrices of all layers may be stacked along a leading axis.
    """

    values: Int8[Array, "*layers O I"]
    scales: Float[Array, "*layers O"]


def to_int8(matrix: Float[Array, "*layers O I"]) -> Int8Matrix:
    """Return the nearest int8 matrix. An entry moves by at most half of its row's scale."""
    matrix = matrix.astype(jnp.float32)
    largest = jnp.max(jnp.abs(matrix), axis=-1)
    scales = jnp.where(largest == 0, 1.0, largest / 127)
    return Int8Matrix(jnp.round(matrix / scales[..., None]).astype(jnp.int8), scales)


def rows(
    table: Float[Array, "V D"] | Int8Matrix, index: Int[Array, "..."]
) -> Float[Array, "... D"]:
    """Return rows of a table, those of an int8 matrix in float32.

    An index out of range is clipped: the caller checks ids where text becomes ids. The default mode
    of `jnp.take` would fill such a row with NaN and spend a select on every lookup.
    """

    def take(array: jax.Array) -> jax.Array:
        return jnp.take(array, index, axis=0, mode="clip")

    if isinstance(table, Int8Matrix):
        return take(table.values).astype(jnp.float32) * take(table.scales)[..., None]
    return take(table)


def product(x: Float[Array, "R I"], values: Int8[Array, "O I"]) -> Float[Array, "R O"]:
    """Return x values^T in float32, as exactly as a product of floats.

    int8 entries are exact in every precision. An accelerator converts them on their way from its
    memory to the product. XLA's CPU backend writes a copy in x's precision to memory, which many
    rows of x repay.
    """
    if x.shape[0] > FEW_ROWS:
        return _product_of_floats(x, values)
    return jax.lax.platform_dependent(x, values, cpu=_product_of_int8, default=_product_of_floats)


def _product_of_floats(x: jax.Array, values: jax.Array) -> jax.Array:
    return _product(x, values.astype(x.dtype), jnp.float32)


def _product_of_int8(x: jax.Array, values: jax.Array) -> jax.Array:
    """Return the product from three int8 digits, in base 254, of each entry of x.

    CPUs multiply int8 fast, and all digits in one product read `values` once. An entry of x moves
    by about 1e-7 of the largest of its row at most, hardly more than float32 rounds that one.
    """
    x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=1, keepdims=True)
    scale = jnp.where(largest == 0, 1.0, largest / 127)
    rest, digits = x / scale, []
    for _ in range(3):
        digits.append(jnp.round(rest))  # from -127 to 127
        rest = (rest - digits[-1]) * BASE
    # No sum of up to 133,143 inputs leaves int32: 127 * 127 * 133,143 < 2^31.
    sums = _product(jnp.concatenate(digits).astype(jnp.int8), values, jnp.int32)
    first, second, third = jnp.split(sums.astype(jnp.float32), 3)
    return scale * (first + (second + third / BASE) / BASE)


def _product(x: jax.Array, values: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    axes = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, values, axes, preferred_element_type=dtype)
