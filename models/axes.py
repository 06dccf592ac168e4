"""The letters and the axis names that all of `models/` uses.

Letters, in shapes and annotations; an einsum writes them in lower case:

    B batch        T query length   S key length    D d_model    L layers
    N heads        K kv heads       G = N / K       H head_dim   F d_ff     V vocab
    M distances    R = G T, rows of one product     I, O input and output width of a matrix
    C cells of a cache                E width of a distance key: H, or 1 for one number

Names: every parameter axis is one of `embed heads kv_heads head_dim mlp vocab position layers`;
every constrained activation axis is one of `batch shared_batch length residual` or has a
parameter's name. `zoo.distribution.sharding.rules_for` alone maps names to mesh axes. `embed`
shards parameters, and what `lookup` finds before the devices exchange it.
The D axis of an activation is sharded as `residual` between sub-blocks and is whole (None) inside
them, because its batch axis already uses the mesh axes that `embed` uses.
"""

from collections.abc import Callable
from types import EllipsisType

import jax
from flax.core.spmd import get_logical_axis_rules
from jax.sharding import AxisType, PartitionSpec


def mesh_axis(name: str) -> str | None:
    """Return the mesh axis over which `jax.shard_map` splits the axis `name`, or None."""
    axis = dict(get_logical_axis_rules()).get(name)
    assert axis is None or isinstance(axis, str), f"{name} is split over several axes: {axis}"
    return axis


def constrain(x: jax.Array, *axes: str | None | EllipsisType) -> jax.Array:
    """Shard `x` by the current axis rules; without rules (one device) return it unchanged.

    An axis given as None stays whole on every device; one given as `...` is left to the
    partitioner. The rules are read while tracing and are not part of jit's cache key, so enter them
    once, around the whole program. A name without a rule raises KeyError: treating it as None would
    silently replicate the axis.
    """
    rules = dict(get_logical_axis_rules())
    if not rules:
        return x

    def mesh_axes(axis: str | None | EllipsisType):
        if axis is ...:
            return PartitionSpec.UNCONSTRAINED
        return None if axis is None else rules[axis]

    return jax.lax.with_sharding_constraint(x, PartitionSpec(*map(mesh_axes, axes)))


def on_each_device(
    function: Callable[..., jax.Array],
    in_axes: tuple[tuple[str | None, ...], ...],
    out_axes: tuple[str | None, ...],
) -> Callable[..., jax.Array]:
    """Return `function`, run by every device on its shards, for what XLA cannot partition.

    Arrays are sharded by the current axis rules; without rules (one device), `function` itself is
    returned.

    Args:
      in_axes: the axes of each argument.
      out_axes: the axes of the result.
    """
    rules = dict(get_logical_axis_rules())
    if not rules:
        return function

    def spec(axes: tuple[str | None, ...]) -> PartitionSpec:
        return PartitionSpec(*(None if axis is None else rules[axis] for axis in axes))

    mesh = jax.sharding.get_abstract_mesh()
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return jax.shard_map(
        function,
        in_specs=tuple(map(spec, in_axes)),
        out_specs=spec(out_axes),
        # The stages of a pipeline are devices of their own already.
        axis_names={name for name, kind in kinds if kind != AxisType.Manual},
        check_vma=False,
    )
