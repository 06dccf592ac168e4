"""The mesh of devices, and the mesh axes over which every axis of every array is sharded."""

import math
from collections.abc import Mapping

import jax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from configs import experiment as c
from models.config import ConfigError, Decoder, check
from models.int8 import Int8Matrix

Rules = tuple[tuple[str, str | tuple[str, ...] | None], ...]
AXES = ("pipeline", "data", "fsdp", "sequence", "tensor")
BATCH_AXES = ("data", "fsdp")
TOKEN_AXES = (*BATCH_AXES, "sequence")
VOCAB_AXES = ("pipeline", "tensor")
AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh
"""A mesh of real or described devices, or an abstract one: a plan needs only the shape."""


def mesh_shape(mesh: c.Mesh, num_devices: int, num_rows: int | None = None) -> dict[str, int]:
    """Return the number of devices along every axis.

    The order is from the pipeline, which communicates least, to tensor, which communicates most and
    whose devices are neighbours.

    If the config leaves `data` open, it takes all devices that are left, or as many as divide the
    `num_rows` of a batch; the rest stays idle. Raises ConfigError if the product is not the number
    of devices.
    """
    check(not mesh.auto, "the axes of --mesh=auto are not decided here; write those that you want")
    shape = {axis: getattr(mesh, axis) or 1 for axis in AXES}
    others = math.prod(shape.values()) // shape["data"]
    if mesh.data is None:
        shape["data"] = max(1, num_devices // others)
        if num_rows is not None and num_devices == math.prod(shape.values()):
            copies = range(shape["data"], 1, -1)
            divisors = (n for n in copies if num_rows % (n * shape["fsdp"]) == 0)
            shape["data"] = next(divisors, 1)
            num_devices = math.prod(shape.values())
    if math.prod(shape.values()) != num_devices:
        raise ConfigError(
            f"{mesh_flags(shape) or '--mesh.data=1'} needs {math.prod(shape.values())} devices and "
            f"there {'is' if num_devices == 1 else 'are'} {num_devices}; the product must be the "
            "number of devices (zoo.train --fake-devices=N rehearses a mesh on a CPU)"
        )
    return shape


def mesh_flags(shape: dict[str, int]) -> str:
    """Write a mesh as command-line flags."""
    return " ".join(f"--mesh.{axis}={size}" for axis, size in shape.items() if size > 1)


def make_mesh(mesh: c.Mesh, num_devices: int, num_rows: int | None = None) -> jax.sharding.Mesh:
    """The mesh over the devices of this job; see `mesh_shape`."""
    shape = mesh_shape(mesh, num_devices, num_rows)
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        axis_types=(AxisType.Auto,) * len(shape),
        devices=jax.devices()[: math.prod(shape.values())],
    )


def pipeline_micro_batches(experiment: c.Experiment, shape: Mapping[str, int]) -> int:
    """Micro-batches that follow each other through the stages of a pipeline; 1 without a pipeline.

    Unless the experiment gives their number, there is one per stage, or fewer if a device has too
    few sequences for that.
    """
    stages = shape["pipeline"]
    if stages == 1:
        return 1
    rows = experiment.batch_size // experiment.num_micro_batches // (shape["data"] * shape["fsdp"])
    return experiment.mesh.pipeline_micro_batches or math.gcd(stages, max(1, rows))


def rows_per_pass(experiment: c.Experiment, shape: Mapping[str, int]) -> int:
    """Rows of the global batch that pass through a layer at a time.

    Raises ConfigError if the micro-batches do not divide the batch.
    """
    rows = experiment.batch_size // experiment.num_micro_batches
    in_flight = pipeline_micro_batches(experiment, shape)
    check(
        rows % in_flight == 0,
        f"mesh.pipeline_micro_batches={in_flight} must divide the {rows} sequences of a batch "
        "(batch_tokens / seq_len / micro_batches); write --mesh.pipeline-micro-batches=1 or "
        f"another divisor of {rows}",
    )
    return rows // in_flight


def rows_to_share(experiment: c.Experiment) -> int:
    """Rows that an open `data` axis may divide: those that pass through a layer at a time."""
    rows = experiment.batch_size // experiment.num_micro_batches
    has_pipeline = (experiment.mesh.pipeline or 1) > 1
    return rows // (experiment.mesh.pipeline_micro_batches or 1) if has_pipeline else rows


def ways(mesh: AnyMesh, axes: str | tuple[str, ...] | None) -> int:
    """The number of shards into which one or several mesh axes, or none, divide an array's axis."""
    names = () if axes is None else (axes,) if isinstance(axes, str) else axes
    return math.prod(mesh.shape[name] for name in names)


def rules_for(experiment: c.Experiment, mesh: AnyMesh) -> Rules:
    """The mesh axis, or axes, of every logical axis.

    A single KV head is replicated. A vocabulary that does not divide is split for the products,
    where the partitioner pads it and masks the padding, and stored as `state_shardings` says.
    Raises ConfigError, with the numbers, for anything else that does not divide.
    """
    model, size = experiment.model, mesh.shape
    if size["pipeline"] * size["sequence"] > 1:
        check(
            isinstance(model.stack, Decoder),
            "the axes pipeline and sequence are for decoders, and this model has an encoder; write "
            "--mesh.data, --mesh.fsdp or --mesh.tensor instead",
        )
    kv_heads = model.attention.num_kv_heads
    period = len(model.attention.windows)
    batch_terms = ["batch_tokens", "seq_len", "micro_batches"]
    if size["pipeline"] > 1:
        batch_terms.append("mesh.pipeline_micro_batches")
    for name, value, axes in (
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
        (f"batch ({' / '.join(batch_terms)})", rows_per_pass(experiment, size), BATCH_AXES),
    ):
        check(
            value % ways(mesh, axes) == 0,
            f"{name}={value} does not divide over the mesh: "
            f"{' x '.join(f'mesh.{axis}={size[axis]}' for axis in axes)} ways; choose a divisor "
            f"of {value} or change the model",
        )
    return (
        ("batch", BATCH_AXES),
        ("shared_batch", "data"),  # the rows of all devices along fsdp
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
    """A sharding for every array of a train state.

    Parameters and optimizer moments are sharded by their logical axes (ZeRO), everything else
    (counters) is replicated. A vocabulary that does not divide over all its mesh axes is sharded
    over `tensor` alone, or else stored whole.
    """
    axis_of = dict(rules)

    def mesh_axes(axis: str, length: int) -> str | tuple[str, ...] | None:
        choices = [axis_of[axis], "tensor"] if axis == "vocab" else [axis_of[axis]]
        return next(
            (mesh_axis for mesh_axis in choices if length % ways(mesh, mesh_axis) == 0), None
        )

    def sharding(leaf):
        if not isinstance(leaf, nnx.Variable):
            return NamedSharding(mesh, PartitionSpec())
        axes = leaf.get_metadata("out_sharding")
        value = leaf.get_value()
        if isinstance(value, Int8Matrix):
            spec = [mesh_axes(*axis) for axis in zip(axes, value.values.shape, strict=True)]
            specs = PartitionSpec(*spec), PartitionSpec(*spec[:-1])  # of values and scales
            shardings = [NamedSharding(mesh, each) for each in specs]
            return leaf.replace(jax.tree.structure(value).unflatten(shardings))
        # Adafactor without factoring keeps placeholders of shape (1,) for its factors, also for
        # vectors, which have one axis as well.
        is_placeholder = len(axes) != value.ndim or value.shape == (1,)
        spec = [] if is_placeholder else [mesh_axes(*axis) for axis in zip(axes, value.shape)]
        return leaf.replace(NamedSharding(mesh, PartitionSpec(*spec)))

    return jax.tree.map(sharding, abstract_state, is_leaf=lambda x: isinstance(x, nnx.Variable))


def with_shardings(abstract, shardings):
    """Give every abstract array of a tree the sharding at the same position of `shardings`."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )


def batch_sharding(mesh: AnyMesh) -> NamedSharding:
    """Return the sharding of a batch: rows over data and fsdp, length over the sequence axis."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES, "sequence"))
