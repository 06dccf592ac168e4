"""Matrices with one byte per entry, for inference: decoding reads all of them for every token."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from flax.core.spmd import get_logical_axis_rules
from jaxtyping import Array, Float, Int, Int8

BLOCK = 2**20
"""Entries that a CPU converts at a time: what the product then reads is still in a cache."""


@no_type_check  # at run time: a plan has shapes and shardings in the place of arrays
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8Matrix:
    """W = diag(scales) values, with the outputs of a product along the rows of W.

    Symmetric, with a scale per output (Krishnamoorthi 2018, arXiv 1806.08342): the largest entry of
    a row is 127 or -127. Activations stay as they are. The matrices of all layers may be stacked
    along a leading axis.
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
    """Return x values^T, from operands in x's precision and accumulated in float32.

    int8 entries are exact in every precision. An accelerator converts them on their way from its
    memory to the product.
    """
    if get_logical_axis_rules():  # the partitioner would gather what a loop over blocks slices
        return _product(x, values)
    return jax.lax.platform_dependent(x, values, cpu=_product_in_blocks, default=_product)


def _product(x: jax.Array, values: jax.Array) -> jax.Array:
    axes = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, values.astype(x.dtype), axes, preferred_element_type=jnp.float32)


def _product_in_blocks(x: jax.Array, values: jax.Array) -> jax.Array:
    """Return the product, a block of rows of `values` after the other.

    XLA's CPU backend has no product of float and int8. It either converts entry by entry in the
    innermost loop, ten times slower than a float32 product, or writes a float32 copy to memory.
    """
    num_out, num_in = values.shape
    # Two at least: XLA unrolls a loop of one step, and then converts entry by entry again.
    num_blocks = max(2, -(-num_out * num_in // BLOCK))
    size = -(-num_out // num_blocks)

    def write_block(number: jax.Array, out: jax.Array) -> jax.Array:
        first = jnp.minimum(number * size, num_out - size)  # the last blocks may overlap
        block = jax.lax.dynamic_slice_in_dim(values, first, size)
        return jax.lax.dynamic_update_slice_in_dim(out, _product(x, block), first, axis=1)

    out = jnp.zeros((x.shape[0], num_out), jnp.float32)
    return jax.lax.fori_loop(0, num_blocks, write_block, out)
