"""Batches on a mesh: the sizes to which they are padded, their slices, and each process's rows."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from configs.experiment import Experiment
from zoo.distribution.sharding import pipeline_micro_batches

Index = tuple[slice, ...]


def micro_batches(experiment: Experiment, num_rows: int) -> int:
    """Return the slices in which a padded batch of `num_rows` is computed.

    A slice has no more rows than one of the largest batch.
    """
    return -(-experiment.num_micro_batches * num_rows // experiment.batch_size)


def padded_sizes(experiment: Experiment, shape: Mapping[str, int]) -> tuple[int, ...]:
    """Return the sizes to which batches are padded on a mesh of `shape`, the largest first.

    The train step is compiled once for each. They are the largest batch, its half, its quarter and
    so on, as long as their slices divide over the devices and a batch of the run is not larger than
    the next. So a growing batch wastes less than half of its rows, where the mesh allows it, and
    the sizes of the batches themselves depend on no mesh.
    """
    ways = shape["data"] * shape["fsdp"] * pipeline_micro_batches(experiment, shape)
    sizes = [experiment.batch_size]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= experiment.batch_sizes.smallest:
        half = sizes[-1] // 2
        if half % (micro_batches(experiment, half) * ways):
            break
        sizes.append(half)
    return tuple(sizes)


class BatchLayout:
    """The rows of a global batch that this process reads, and their layout over its devices."""

    batch_size: int
    """Rows of the batch, padding included."""
    rows: slice
    """From the first to the last row that a device of this process owns."""

    def __init__(self, sharding: NamedSharding, batch_size: int):
        self._sharding = sharding
        self.batch_size = batch_size
        by_row = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))
        owned = [
            self._row_bounds(index)
            for index in by_row.addressable_devices_indices_map((batch_size,)).values()
        ]
        self.rows = slice(min(start for start, _ in owned), max(stop for _, stop in owned))

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Return the global batch to which every process contributes its `rows`.

        Rows that a process lacks at the end become padding: zeros, which no loss counts.
        """
        return {name: self._put(self._padded(array)) for name, array in batch.items()}

    def _padded(self, array: np.ndarray) -> np.ndarray:
        missing = self.rows.stop - self.rows.start - len(array)
        return np.pad(array, ((0, missing), (0, 0))) if missing else array

    def _put(self, rows: np.ndarray) -> jax.Array:
        def shard(index: Index | None) -> np.ndarray:
            start, stop = self._row_bounds(index)
            own_rows = rows[start - self.rows.start : stop - self.rows.start]
            return own_rows if index is None else own_rows[:, *index[1:]]

        shape = (self.batch_size, *rows.shape[1:])
        return jax.make_array_from_callback(shape, self._sharding, shard)

    def _row_bounds(self, index: Index | None) -> tuple[int, int]:
        """The first row of a device's shard, and the one after its last."""
        start, stop, _ = (index or (slice(None),))[0].indices(self.batch_size)
        return start, stop
