"""The mesh of devices, and which axes of which arrays lie on which of its axes."""

import math

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from configs import experiment as c
from models.config import ConfigError, check

Rules = tuple[tuple[str, str | tuple[str, ...] | None], ...]
Index = tuple[slice, ...]
AXES = ("pipeline", "data", "fsdp", "sequence", "tensor")
BATCH_AXES = ("data", "fsdp")
TOKEN_AXES = (*BATCH_AXES, "sequence")
VOCAB_AXES = ("pipeline", "tensor")
AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh
"""Of devices, of a described topology's devices, or of none at all: a plan needs only the shape."""


def mesh_shape(mesh: c.Mesh, num_devices: int, num_rows: int | None = None) -> dict[str, int]:
    """Devices along every axis, the one whose devices are nearest to each other last: tensor talks
    most, the pipeline least.

    Where the config leaves `data` open, it is filled up to all devices, or as far as the `num_rows`
    of a batch divide; devices beyond that stay idle. Raises ConfigError if the product is not the
    number of devices.
    """
    check(not mesh.auto, "--mesh=auto is for training and planning; write the axes that you want")
    shape = {axis: getattr(mesh, axis) or 1 for axis in AXES}
    others = math.prod(shape.values()) // shape["data"]
    if mesh.data is None:
        shape["data"] = max(1, num_devices // others)
        if num_rows is not None and num_devices == math.prod(shape.values()):
            copies = range(shape["data"], 1, -1)
            fitting = (n for n in copies if num_rows % (n * shape["fsdp"]) == 0)
            shape["data"] = next(fitting, 1)
            num_devices = math.prod(shape.values())
    if math.prod(shape.values()) != num_devices:
        raise ConfigError(
            f"{mesh_flags(shape) or '--mesh.data=1'} needs {math.prod(shape.values())} devices and there "
            f"{_are(num_devices)}; the product must be the number of devices (to rehearse a mesh on a "
            "CPU, zoo.train --fake-devices=N makes N of one)"
        )
    return shape


def mesh_flags(shape: dict[str, int]) -> str:
    """A mesh as it is written on the command line."""
    return " ".join(f"--mesh.{axis}={size}" for axis, size in shape.items() if size > 1)


def make_mesh(mesh: c.Mesh, num_devices: int, num_rows: int | None = None) -> jax.sharding.Mesh:
    """The mesh over this machine's, or this job's, devices; see `mesh_shape`."""
    shape = mesh_shape(mesh, num_devices, num_rows)
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        axis_types=(AxisType.Auto,) * len(shape),
        devices=jax.devices()[: math.prod(shape.values())],
    )


def ways(mesh: AnyMesh, axes: str | tuple[str, ...] | None) -> int:
    """Pieces into which one or several mesh axes, or none, divide an array's axis."""
    names = () if axes is None else (axes,) if isinstance(axes, str) else axes
    return math.prod(mesh.shape[name] for name in names)


def rules_for(experiment: c.Experiment, mesh: AnyMesh) -> Rules:
    """Mesh axis of every logical axis.

    A single KV head is replicated. A vocabulary that does not divide is split for the products, where
    the partitioner pads it and masks the padding, and stored as `state_shardings` says. Any other
    misfit is refused.
    """
    model, size = experiment.model, mesh.shape
    kv_heads = model.attention.num_kv_heads
    rows = experiment.batch_size // experiment.micro_batches
    period = len(model.attention.windows)
    for what, value, axes in (
        ("model.d_model", model.d_model, ("fsdp",)),
        ("model.attention.num_heads", model.attention.num_heads, ("tensor",)),
        ("model.attention.num_kv_heads", 0 if kv_heads == 1 else kv_heads, ("tensor",)),
        ("model.feed_forward.d_ff", model.feed_forward.d_ff, ("tensor",)),
        (
            "model.num_layers / len(model.attention.windows)",
            model.num_layers // period,
            ("pipeline",),
        ),
        ("seq_len", experiment.seq_len, ("sequence",)),
        ("batch (batch_tokens / seq_len / micro_batches)", rows, BATCH_AXES),
    ):
        check(value % ways(mesh, axes) == 0,
              f"{what}={value} does not divide over the mesh: "
              f"{' x '.join(f'mesh.{axis}={size[axis]}' for axis in axes)} ways; choose a divisor "
              f"of {value} or change the model")  # fmt: skip
    return (
        ("batch", BATCH_AXES),
        ("length", "sequence" if size["sequence"] > 1 else None),
        ("residual", "tensor" if model.d_model % size["tensor"] == 0 else None),
        ("embed", "fsdp"),
        ("heads", "tensor"),
        ("kv_heads", None if kv_heads == 1 else "tensor"),
        ("head_dim", None),
        ("mlp", "tensor"),
        # Every stage of a pipeline makes its share of the logits.
        ("vocab", VOCAB_AXES if size["pipeline"] > 1 else "tensor"),
        ("position", None),
        ("layers", "pipeline" if size["pipeline"] > 1 else None),
    )


def state_shardings(abstract_state, mesh: AnyMesh, rules: Rules):
    """A sharding for every array of a train state: parameters and optimizer moments by their logical
    axes (ZeRO), everything else (counters) replicated. A vocabulary that does not divide over all its
    mesh axes is divided over `tensor` alone, or else stored whole."""
    axis_of = dict(rules)

    def place(axis: str, length: int) -> str | tuple[str, ...] | None:
        choices = [axis_of[axis], "tensor"] if axis == "vocab" else [axis_of[axis]]
        return next(
            (mesh_axis for mesh_axis in choices if length % ways(mesh, mesh_axis) == 0), None
        )

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
    """Rows of a batch over the data and fsdp axes, their length over the sequence axis."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES, "sequence"))


def put_batch(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Move a host's whole batch to the devices, each row to the devices that own it."""
    return {name: jax.device_put(array, sharding) for name, array in batch.items()}


class Placement:
    """Where the rows of a batch lie: which of them a host reads, and how they come to its devices.

    Attributes:
      rows: from the first to the last row that a device of this host owns.
    """

    def __init__(self, sharding: NamedSharding, batch_size: int):
        self._sharding = sharding
        self._batch_size = batch_size
        by_row = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))
        owned = [
            self._bounds(index)
            for index in by_row.addressable_devices_indices_map((batch_size,)).values()
        ]
        self.rows = slice(min(start for start, _ in owned), max(stop for _, stop in owned))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """The global batch of which the hosts each give their `rows`."""
        return {name: self._place(rows) for name, rows in batch.items()}

    def _place(self, rows: np.ndarray) -> jax.Array:
        def of_device(index: Index | None) -> np.ndarray:
            start, stop = self._bounds(index)
            mine = rows[start - self.rows.start : stop - self.rows.start]
            return mine if index is None else mine[:, *index[1:]]

        shape = (self._batch_size, *rows.shape[1:])
        return jax.make_array_from_callback(shape, self._sharding, of_device)

    def _bounds(self, index: Index | None) -> tuple[int, int]:
        """The first row of a device and the one after its last; `index` of JAX has a slice an axis."""
        start, stop, _ = (index or (slice(None),))[0].indices(self._batch_size)
        return start, stop


def _are(num: int) -> str:
    return f"is {num}" if num == 1 else f"are {num}"
