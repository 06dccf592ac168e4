"""GPipe: layers split into stages over a mesh axis, which micro-batches pass through in turn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int


def run_stages(
    stage: Callable[[Any, Float[Array, "b T D"], Any, Int[Array, ""]], Float[Array, "b T D"]],
    layers: Any,
    x: Float[Array, "B T D"],
    row_data: Any,
    *,
    axis: str,
    num_micro_batches: int,
) -> Float[Array, "B T D"]:
    """Apply all layers to x, where each device along `axis` has a part of the layers.

    This is GPipe's schedule (Huang et al. 2019, arXiv 1811.06965): in tick t, stage i applies its
    layers to micro-batch t - i and sends the result to the next stage. P stages and M micro-batches
    need M + P - 1 ticks, and a stage is idle in P - 1 of them: the bubble is (P - 1) / (M + P - 1)
    of the time. The backward pass runs the same ticks in reverse.

    Args:
      stage: applies the layers that it is given to one micro-batch and its `row_data`; the last
        argument is the number of the micro-batch.
      layers: a tree of arrays whose leading axis, the layers, is split over `axis`.
      x: B must be a multiple of the number of micro-batches.
      row_data: a tree of arrays [B, ...] with whatever else a stage needs for each row.
    """

    def run_stage(layers, x, row_data):
        index, num_stages = jax.lax.axis_index(axis), jax.lax.axis_size(axis)
        to_next = [(i, (i + 1) % num_stages) for i in range(num_stages)]

        def tick(received, t):
            # Before its first micro-batch and after its last, a stage's result is never read.
            number = jnp.clip(t - index, 0, num_micro_batches - 1)
            micro_batch = jnp.where(index == 0, x[number], received)
            output = stage(layers, micro_batch, jax.tree.map(lambda x: x[number], row_data), number)
            return jax.lax.ppermute(output, axis, to_next), output

        ticks = jnp.arange(num_micro_batches + num_stages - 1)
        _, outputs = jax.lax.scan(tick, jnp.zeros_like(x[0]), ticks)
        # The last stage's results start at tick P - 1; the sum sends them to all stages.
        is_last = index == num_stages - 1
        return jax.lax.psum(jnp.where(is_last, outputs[num_stages - 1 :], 0), axis)

    def split(x: Array) -> Array:
        # Row i goes to micro-batch i % M, so that each micro-batch has rows of every device.
        return jnp.moveaxis(x.reshape(-1, num_micro_batches, *x.shape[1:]), 1, 0)  # M B/M ...

    whole = PartitionSpec()
    out = jax.shard_map(
        run_stage,
        in_specs=(PartitionSpec(axis), whole, whole),
        out_specs=whole,
        axis_names={axis},
        check_vma=False,
    )(layers, split(x), jax.tree.map(split, row_data))
    return jnp.moveaxis(out, 0, 1).reshape(x.shape)
