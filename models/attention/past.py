"""Attention to the tokens of a cache, of which only the filled blocks are read."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.attention import blocks
from models.attention.blocks import Attended, Dropout, Queries
from models.attention.cache import Past
from models.positions import Positions


def attend_to_past(
    queries: Queries, positions: Positions, past: Past, window: int | None
) -> Float[Array, "B T N H"]:
    """Mix the values that each query sees, with one block of cells at a time.

    The blocks are joined as they come (the online softmax, Milakov & Gimelshein 2018, arXiv
    1805.02867).
    """
    num_new = queries.content.shape[1]

    def attend_to(number) -> Attended:
        keys = past.block(number, num_new)
        return blocks.attend_to_block(queries, positions, keys, window, Dropout(0.0, None))

    def add_block(number, attended: Attended) -> Attended:
        return blocks.join(attended, attend_to(number))

    num_blocks = past.num_blocks(num_new)
    if isinstance(num_blocks, int):
        attended = attend_to(0)
    else:
        # The first block is read in the loop, too. Outside of it, XLA's CPU backend reads it from
        # the cells as they were before the newest tokens, and to keep them copies all cells.
        attended = jax.lax.fori_loop(0, num_blocks, add_block, _nothing(queries))
    return attended.mixed.astype(queries.content.dtype)


def _nothing(queries: Queries) -> Attended:
    """Return the result of attention to no keys, to which blocks are joined."""
    content = queries.content
    return Attended(
        jnp.zeros(content.shape, jnp.float32),
        jnp.full(content.shape[:-1], jnp.finfo(jnp.float32).min),
    )
