"""The letters and the axis names that all of `models/` uses.

Letters, in shapes, annotations and einsums:

    B batch      T query length   S key length    D d_model    L layers
    N heads      K kv heads       G = N / K       H head_dim   F d_ff     V vocab

Names: every parameter axis is one of `embed heads kv_heads head_dim mlp vocab position layers`,
every constrained activation axis `batch length` or a parameter's name. `zoo.sharding.rules_for` is
the only place that maps names to mesh axes. `embed` shards parameters only: an activation's D axis
is written None, because its batch axis already takes the mesh axes that `embed` takes.
"""

import jax
from flax.core.spmd import get_logical_axis_rules
from jax.sharding import PartitionSpec


def mesh_axis(name: str) -> str | None:
    """The mesh axis over which `name` is split by hand, with `jax.shard_map`; None if it is not."""
    axis = dict(get_logical_axis_rules()).get(name)
    assert axis is None or isinstance(axis, str), f"{name} is split over several axes: {axis}"
    return axis


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Shard `x` as the current axis rules say; without rules (one device) leave it alone.

    Rules are read while tracing and are not part of jit's cache key, so a program enters them once,
    around everything. A name without a rule is an error: a silent None would replicate.
    """
    rules = dict(get_logical_axis_rules())
    if not rules:
        return x
    spec = PartitionSpec(*(None if axis is None else rules[axis] for axis in axes))
    return jax.lax.with_sharding_constraint(x, spec)
