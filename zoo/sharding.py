"""The mesh of devices, and which axes of which arrays lie on which of its axes."""

import math

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from models.config import ConfigError, check
from zoo import config as c

Rules = tuple[tuple[str, str | tuple[str, ...] | None], ...]
BATCH_AXES = ("data", "fsdp")
AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh
"""Of devices, of a described topology's devices, or of none at all: a plan needs only the shape."""


def make_mesh(mesh: c.Mesh, num_devices: int, num_rows: int | None = None) -> jax.sharding.Mesh:
    """The device mesh. Where the config leaves `data` open, it is filled up to all devices, or as far
    as the `num_rows` of a batch divide; devices beyond that stay idle."""
    others = mesh.fsdp * mesh.tensor
    data = mesh.data if mesh.data is not None else max(1, num_devices // others)
    if mesh.data is None and num_rows is not None and num_devices == data * others:
        data = next((d for d in range(data, 1, -1) if num_rows % (d * mesh.fsdp) == 0), 1)
        num_devices = data * others
    shape = {"data": data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}
    written = " ".join(f"--mesh.{axis}={size}" for axis, size in shape.items())
    if data * others != num_devices:
        raise ConfigError(
            f"{written} needs {data * others} devices and there {_are(num_devices)}; the product "
            "must be the number of devices (on a CPU, --fake-devices=N makes N of one)"
        )
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        axis_types=(AxisType.Auto,) * len(shape),
        devices=jax.devices()[:num_devices],
    )


def ways(mesh: AnyMesh, axes: str | tuple[str, ...] | None) -> int:
    """Pieces into which one or several mesh axes, or none, divide an array's axis."""
    names = () if axes is None else (axes,) if isinstance(axes, str) else axes
    return math.prod(mesh.shape[name] for name in names)


def rules_for(experiment: c.Experiment, mesh: AnyMesh) -> Rules:
    """Mesh axis of every logical axis.

    A single KV head is replicated. A vocabulary that does not divide is stored whole and split for
    the products, where the partitioner pads it and masks the padding. Any other misfit is refused.
    """
    model, size = experiment.model, mesh.shape
    kv_heads = model.attention.num_kv_heads
    rows = experiment.batch_size // experiment.micro_batches
    for what, value, axes in (
        ("model.d_model", model.d_model, ("fsdp",)),
        ("model.attention.num_heads", model.attention.num_heads, ("tensor",)),
        ("model.attention.num_kv_heads", 0 if kv_heads == 1 else kv_heads, ("tensor",)),
        ("model.feed_forward.d_ff", model.feed_forward.d_ff, ("tensor",)),
        ("batch (batch_tokens / seq_len / micro_batches)", rows, BATCH_AXES),
    ):
        check(value % ways(mesh, axes) == 0,
              f"{what}={value} does not divide over the mesh: "
              f"{' x '.join(f'mesh.{axis}={size[axis]}' for axis in axes)} ways; choose a divisor "
              f"of {value} or change the model")  # fmt: skip
    return (
        ("batch", BATCH_AXES),
        ("length", None),
        ("residual", "tensor" if model.d_model % size["tensor"] == 0 else None),
        ("embed", "fsdp"),
        ("heads", "tensor"),
        ("kv_heads", None if kv_heads == 1 else "tensor"),
        ("head_dim", None),
        ("mlp", "tensor"),
        ("vocab", "tensor"),
        ("position", None),
        ("layers", None),
    )


def state_shardings(abstract_state, mesh: AnyMesh, rules: Rules):
    """A sharding for every array of a train state: parameters and optimizer moments by their logical
    axes (ZeRO), as far as they divide, everything else (counters) replicated."""
    axis_of = dict(rules)

    def place(axis: str, length: int) -> str | tuple[str, ...] | None:
        mesh_axis = axis_of[axis]
        return mesh_axis if length % ways(mesh, mesh_axis) == 0 else None

    def sharding(leaf):
        if not isinstance(leaf, nnx.Variable):
            return NamedSharding(mesh, PartitionSpec())
        axes = leaf.get_metadata("out_sharding")
        value = leaf.get_value()
        # Adafactor without factoring keeps placeholders of shape (1,) for its factors: also for
        # vectors, whose number of axes they share.
        is_placeholder = len(axes) != value.ndim or value.shape == (1,)
        spec = [] if is_placeholder else [place(*axis) for axis in zip(axes, value.shape)]
        return leaf.replace(NamedSharding(mesh, PartitionSpec(*spec)))

    return jax.tree.map(sharding, abstract_state, is_leaf=lambda x: isinstance(x, nnx.Variable))


def with_shardings(abstract, shardings):
    """The abstract arrays of a tree, each to be laid out as the same place of `shardings` says."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )


def batch_sharding(mesh: AnyMesh) -> NamedSharding:
    """Rows of a batch over the data and fsdp axes."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def put_batch(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Move a host batch to the devices, each row to the devices that own it."""
    return {name: jax.device_put(array, sharding) for name, array in batch.items()}


def _are(num: int) -> str:
    return f"is {num}" if num == 1 else f"are {num}"
