"""Layers split into stages over a mesh axis, and micro-batches that follow each other through them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int


def pipelined(
    stage: Callable[[Any, Float[Array, "b T D"], Any, Int[Array, ""]], Float[Array, "b T D"]],
    layers: Any,
    x: Float[Array, "B T D"],
    rows: Any,
    *,
    axis: str,
    num_micro_batches: int,
) -> Float[Array, "B T D"]:
    """What `stage` makes of x with all layers, each device along `axis` holding its part of them.

    GPipe's schedule (Huang et al. 2019, arXiv 1811.06965): in tick t stage i has micro-batch t - i,
    and hands it on. With P stages and M micro-batches that is M + P - 1 ticks, of which a stage idles
    P - 1: the bubble is (P - 1) / (M + P - 1) of the time. The backward pass runs the same ticks in
    reverse.

    Args:
      stage: applies the layers that it is given to one micro-batch and its `rows`; the last argument
        is the micro-batch's number.
      layers: a tree of arrays whose leading axis, over layers, is divided over `axis`.
      x: B is a multiple of the number of micro-batches.
      rows: a tree of what else each row has, [B, ...].
    """

    def run(layers, x, rows):
        index, num_stages = jax.lax.axis_index(axis), jax.lax.axis_size(axis)
        to_next = [(i, (i + 1) % num_stages) for i in range(num_stages)]

        def tick(received, t):
            # Before its first and after its last micro-batch a stage computes on what nobody reads.
            number = jnp.clip(t - index, 0, num_micro_batches - 1)
            own = jax.tree.map(lambda x: x[number], rows)
            made = stage(layers, jnp.where(index == 0, x[number], received), own, number)
            return jax.lax.ppermute(made, axis, to_next), made

        ticks = jnp.arange(num_micro_batches + num_stages - 1)
        _, made = jax.lax.scan(tick, jnp.zeros_like(x[0]), ticks)
        # The last stage's micro-batches come out from tick P - 1 on; all stages get them.
        return jax.lax.psum(jnp.where(index == num_stages - 1, made[num_stages - 1 :], 0), axis)

    def split(x: Array) -> Array:
        # Row i goes to micro-batch i % M, so that each takes from every device's rows.
        return jnp.moveaxis(x.reshape(-1, num_micro_batches, *x.shape[1:]), 1, 0)

    everywhere = PartitionSpec()
    out = jax.shard_map(
        run,
        in_specs=(PartitionSpec(axis), everywhere, everywhere),
        out_specs=everywhere,
        axis_names={axis},
        check_vma=False,
    )(layers, split(x), jax.tree.map(split, rows))
    return jnp.moveaxis(out, 0, 1).reshape(x.shape)
