"""Random queries, keys and values over packed rows, for the tests of attention kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from models.attention import ring
from models.attention.blocks import Dropout, Queries
from models.attention.ring import KeyValues
from models.positions import Positions

NUM_HEADS, HEAD_DIM = 4, 8


def packed_positions(seq_len: int) -> Positions:
    """Return two rows of several documents, cut at uneven places; the second ends in padding."""
    segments = np.ones((2, seq_len), np.int32)
    segments[0, 2 * seq_len // 5 :] = 2
    segments[1, seq_len // 7 :] = 2
    segments[1, 6 * seq_len // 7 :] = 0
    index = np.zeros_like(segments)
    for row, numbers in enumerate(segments):
        for number in (1, 2):
            index[row, numbers == number] = np.arange(np.sum(numbers == number))
    return Positions(jnp.asarray(index), jnp.asarray(segments))


def random_inputs(
    seq_len: int, num_kv_heads: int, *, relative: bool = False, seed: int = 0
) -> tuple[Queries, Positions, KeyValues]:
    """Draw the inputs of one layer in float32."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int):
        return jnp.asarray(rng.normal(0.0, 0.7, shape), jnp.float32)

    wide, narrow = (2, seq_len, NUM_HEADS, HEAD_DIM), (2, seq_len, num_kv_heads, HEAD_DIM)
    queries = Queries(draw(*wide), draw(*wide) if relative else None)
    distance_keys = draw(seq_len, NUM_HEADS, HEAD_DIM) if relative else None
    return (
        queries,
        packed_positions(seq_len),
        KeyValues(draw(*narrow), draw(*narrow), distance_keys),
    )


@functools.partial(jax.jit, static_argnames=("attend", "window"))
def value_and_gradient(
    attend, queries: Queries, positions: Positions, keys: KeyValues, window: int | None
):
    """Return what `attend` returns for text, and the gradient of a function of it."""

    def energy(queries: Queries, keys: KeyValues):
        is_text = positions.segment_ids[..., None, None] > 0  # nobody reads what padding attends to
        mixed = jnp.where(is_text, attend(queries, positions, keys, window), 0)
        return jnp.sum(jnp.sin(3 * mixed)), mixed

    (_, mixed), gradient = jax.value_and_grad(energy, (0, 1), has_aux=True)(queries, keys)
    return mixed, gradient


def in_blocks(
    queries: Queries, positions: Positions, keys: KeyValues, window: int | None
) -> jax.Array:
    """Attend in the plain form."""
    return ring.attend(queries, positions, keys, Dropout(0.5, None), window, None)
