"""The letters and the axis names that all of `models/` uses.

Letters, in shapes, annotations and einsums:

    B batch      T query length   S key length    D d_model    L layers
    N heads      K kv heads       G = N / K       H head_dim   F d_ff     V vocab

Names: every parameter axis is one of `embed heads kv_heads head_dim mlp vocab position layers`,
every constrained activation axis `batch length residual` or a parameter's name.
`zoo.distribution.sharding.rules_for` is the only place that maps names to mesh axes. `embed` shards parameters
only: an activation's D axis is `residual` between sub-blocks and whole, None, inside them, because
its batch axis already takes the mesh axes that `embed` takes.
"""

from types import EllipsisType

import jax
from flax.core.spmd import get_logical_axis_rules
from jax.sharding import PartitionSpec


def mesh_axis(name: str) -> str | None:
    """The mesh axis over which `name` is split by hand, with `jax.shard_map`; None if it is not."""
    axis = dict(get_logical_axis_rules()).get(name)
    assert axis is None or isinstance(axis, str), f"{name} is split over several axes: {axis}"
    return axis


def constrain(x: jax.Array, *axes: str | None | EllipsisType) -> jax.Array:
    """Shard `x` as the current axis rules say; without rules (one device) leave it alone.

    None is an axis that is whole on every device, `...` one that is left to the partitioner.
    Rules are read while tracing and are not part of jit's cache key, so a program enters them once,
    around everything. A name without a rule is an error: a silent None would replicate.
    """
    rules = dict(get_logical_axis_rules())
    if not rules:
        return x

    def place(axis: str | None | EllipsisType):
        if axis is ...:
            return PartitionSpec.UNCONSTRAINED
        return None if axis is None else rules[axis]

    return jax.lax.with_sharding_constraint(x, PartitionSpec(*map(place, axes)))
