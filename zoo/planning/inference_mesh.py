"""The mesh on which a trained model is sampled or evaluated: chosen if it is open, and checked."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from configs.experiment import Experiment, Mesh, Weights
from models.config import check
from zoo.common.errors import OutOfMemoryError
from zoo.distribution.sharding import mesh_flags, mesh_shape, rows_to_share
from zoo.planning import auto_mesh, memory
from zoo.planning.hardware import GIB
from zoo.planning.memory import EvaluationBytes, ServingBytes


@dataclass(frozen=True)
class Sampling:
    """Decoding `num_rows` sequences together, each with a full context.

    The weights are read for every token. So `fsdp`, which gathers them for every token, comes last,
    and copies of the model that have no row come after a larger `tensor`, which shares the reading.
    """

    num_rows: int
    weights: Weights
    noun = "decoding"

    def order(self, meshes: Iterator[Mesh]) -> Iterator[Mesh]:
        """Return the meshes without a pipeline or a split length, the preferred ones first."""
        usable = [mesh for mesh in meshes if mesh.pipeline == mesh.sequence == 1]
        check(
            len(usable) > 0,
            "--mesh=auto finds no mesh of all devices over the axes data, fsdp and tensor that has "
            "the axes given; leave out the others, or change their sizes",
        )
        return iter(sorted(usable, key=lambda mesh: (mesh.fsdp, self._padded(mesh), mesh.tensor)))

    def num_bytes(
        self, experiment: Experiment, shape: dict[str, int], device_bytes: float
    ) -> float:
        """Return the bytes of the weights and of the cache."""
        return self.parts(experiment, shape).total

    def parts(self, experiment: Experiment, shape: dict[str, int]) -> ServingBytes:
        """Return the bytes by what they hold. Raises ConfigError if the model does not divide."""
        ways = shape["data"] * shape["fsdp"]
        experiment = dataclasses.replace(
            experiment, batch_tokens=ways * experiment.seq_len, batch_ramp=None, micro_batches=1
        )
        num_rows = -(-self.num_rows // ways) * ways
        return memory.estimate_serving(experiment, shape, num_rows, self.weights)

    def _padded(self, mesh: Mesh) -> int:
        """Return the number of rows with those that only fill the mesh."""
        ways = (mesh.data or 1) * (mesh.fsdp or 1)
        return -(-self.num_rows // ways) * ways


@dataclass(frozen=True)
class Evaluating:
    """The loss of a batch. Copies of the model come first, as in training."""

    weights: Weights
    noun = "an evaluation"

    def order(self, meshes: Iterator[Mesh]) -> Iterator[Mesh]:
        """Return the meshes as they come."""
        return meshes

    def num_bytes(
        self, experiment: Experiment, shape: dict[str, int], device_bytes: float
    ) -> float:
        """Return the bytes of the weights and of a forward pass."""
        return self.parts(experiment, shape).total

    def parts(self, experiment: Experiment, shape: dict[str, int]) -> EvaluationBytes:
        """Return the bytes by what they hold. Raises ConfigError if the model does not divide."""
        return memory.estimate_evaluation(experiment, shape, self.weights)


def decide(
    experiment: Experiment,
    use: Sampling | Evaluating,
    num_devices: int,
    device_bytes: float,
    neighbours: int,
) -> tuple[Mesh, str | None]:
    """Return the experiment's mesh, or with `mesh.auto` a chosen one and the reason for it.

    Raises ConfigError if the model does not divide over it, and OutOfMemoryError, with what the
    memory would hold, if the weights alone are larger than the devices.
    """
    mesh, reason = experiment.mesh, None
    if mesh.auto:
        mesh, reason = auto_mesh.choose(experiment, num_devices, device_bytes, neighbours, use)
    num_rows = rows_to_share(experiment) if isinstance(use, Evaluating) else None
    shape = mesh_shape(mesh, num_devices, num_rows)
    needed = use.parts(experiment, shape)
    if needed.weights > device_bytes:
        held = {part: size for part, size in needed.parts().items() if size}
        parts = (f"{part.replace('_', ' ')} {size / GIB:.2f}" for part, size in held.items())
        raise OutOfMemoryError(
            f"the model does not fit on {mesh_flags(shape) or 'one device'}: {', '.join(parts)}, "
            f"together {needed.total / GIB:.2f} of {device_bytes / GIB:.2f} GiB per device, by the "
            "estimate; in this order, try --weights=int8 (zoo.sample), --mesh=auto, or more "
            "devices along --mesh.tensor"
        )
    return mesh, reason
