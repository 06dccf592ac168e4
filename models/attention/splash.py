"""Splash attention, the Pallas kernel that JAX ships for TPUs."""

import functools
from typing import Any

import jax
from jaxtyping import Array, Float, Int

from models.attention.blocks import Queries
from models.attention.ring import KeyValues
from models.axes import on_each_device
from models.positions import Positions

TILE = 128
"""The kernel's blocks are multiples of this many tokens."""
LARGEST_BLOCK = 512
"""Tokens of a block of queries or keys, at most."""


def attend(
    queries: Queries, positions: Positions, keys: KeyValues, window: int | None
) -> Float[Array, "B T N H"]:
    """Attend to the tokens of the same document that are not later; blocks that no query of a block
    sees are skipped.

    T must be a multiple of TILE. Padding attends to the padding before it.
    """
    wide, narrow = ("batch", None, "heads", None), ("batch", None, "kv_heads", None)
    on_devices = on_each_device(
        functools.partial(_attend, window), (wide, narrow, narrow, ("batch", None)), wide
    )
    return on_devices(queries.content, keys.key, keys.value, positions.segment_ids)


def _attend(
    window: int | None,
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"],
) -> Float[Array, "B T N H"]:
    kernel = _kernel(query.shape[2], query.shape[1], window)
    segments = _library().SegmentIds

    def attend_row(query, key, value, segment_ids) -> Any:
        return kernel(query, key, value, segments(segment_ids, segment_ids))

    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))  # B N T H, B K T H
    mixed: Array = jax.vmap(attend_row)(query, key, value, segment_ids)  # B N T H
    return mixed.swapaxes(1, 2)


def _library():
    """Import late: Pallas takes long to import, and most programs never need it."""
    from jax.experimental.pallas.ops.tpu import splash_attention

    return splash_attention


def _kernel(num_heads: int, length: int, window: int | None):
    """Return the kernel for one row; arrays are [N, T, H] and [K, T, H]."""
    splash_attention = _library()
    shape = (length, length)
    if window is None:
        mask = splash_attention.CausalMask(shape)
    else:
        mask = splash_attention.LocalMask(shape, window_size=(window - 1, 0), offset=0)
    size = max(n for n in range(TILE, LARGEST_BLOCK + 1, TILE) if length % n == 0)
    return splash_attention.make_splash_mha(
        splash_attention.MultiHeadMask([mask] * num_heads),
        block_sizes=splash_attention.BlockSizes(
            block_q=size,
            block_kv=size,
            block_q_dkv=size,
            block_kv_dkv=size,
            block_q_dq=size,
            block_kv_dq=size,
        ),
        head_shards=1,
        q_seq_shards=1,
        # Rematerialisation that keeps products keeps the output and the softmax's sums too.
        residual_checkpoint_name="heads",
    )
