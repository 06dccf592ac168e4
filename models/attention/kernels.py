"""The way into every attention kernel, so that no model knows which serves it.

Attention to a cache is in `models.attention.past`.
"""

from typing import assert_never

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from models.attention import cudnn, ring, splash
from models.attention.blocks import Dropout, Queries
from models.attention.ring import KeyValues
from models.axes import mesh_axis
from models.execution import Kernel
from models.positions import Positions


def attend(
    queries: Queries,
    positions: Positions,
    keys: KeyValues,
    drop: Dropout,
    window: int | None,
    kernel: Kernel,
) -> Float[Array, "B T N H"]:
    """Mix the values of the tokens that each query sees: those of its document not later than it.

    `models.attention.choice` says which kernel can serve which model.

    Args:
      window: tokens that a query sees, itself included; None: all.
    """
    match kernel:
        case "xla":
            return _in_blocks(queries, positions, keys, drop, window)
        case "splash":
            return splash.attend(queries, positions, keys, window)
        case "cudnn":
            return cudnn.attend(queries, keys, window)
        case _:
            assert_never(kernel)


def _in_blocks(
    queries: Queries, positions: Positions, keys: KeyValues, drop: Dropout, window: int | None
) -> Float[Array, "B T N H"]:
    axis = mesh_axis("length")
    if axis is None:
        return ring.attend(queries, positions, keys, drop, window, None)

    def attend_part(queries, positions, key, value, distance_keys, drop):
        keys = KeyValues(key, value, distance_keys)
        return ring.attend(queries, positions, keys, drop, window, axis)

    split, whole = PartitionSpec(None, axis), PartitionSpec()
    return jax.shard_map(
        attend_part,
        in_specs=(split, split, split, split, whole, whole),
        out_specs=split,
        axis_names={axis},
        check_vma=False,
    )(queries, positions, *keys, drop)
