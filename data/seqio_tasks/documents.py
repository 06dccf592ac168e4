"""The documents of a seqio task, one epoch after another. TensorFlow is imported here (4 s)."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data.batches.streaming import SHUFFLE_DOCUMENTS
from data.errors import DataConfigError, DataError
from data.seqio_tasks import tasks
from data.seqio_tasks.tasks import seqio, tf  # not imported by themselves: that would print
from data.text.corpus import SavedFiles, Shard

_ITERATOR = "iterator"
_EPOCH = "epoch"


class TaskDocuments:
    """A host's share of the train split of a seqio task: a `data.text.corpus.DocumentReader`."""

    def __init__(self, task: seqio.Task, shard: Shard, seed: int):
        """Open the first epoch.

        Raises DataConfigError if the task has no text, or if its order cannot be seeded or saved.
        """
        self._task, self._shard, self._seed = task, shard, seed
        self._begin_epoch(epoch=0)

    def read(self) -> list[str]:
        """Return the next few documents. Raises DataError if this host has none."""
        with tasks.read_errors(self._task, "train"):
            batch = next(self._batches, None)
            if batch is None:
                self._begin_epoch(self._epoch + 1)
                batch = next(self._batches, None)
            if batch is not None:
                return [text.decode("utf-8") for text in batch.numpy()]
        raise DataError(
            f"the task {self._task.name!r} has no document for host {self._shard.index} of "
            f"{self._shard.count}; leave out --data.streaming, or use fewer hosts"
        )

    def save(self) -> SavedFiles:
        """Return the state of TensorFlow's iterator, with the documents in its buffers."""
        with tempfile.TemporaryDirectory() as folder:
            tf.train.Checkpoint(iterator=self._batches).write(f"{folder}/{_ITERATOR}")
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return files | {_EPOCH: b"%d" % self._epoch}

    def restore(self, files: SavedFiles) -> None:
        """Resume where `save` was called. Raises DataError if the files are not of this task."""
        with tempfile.TemporaryDirectory() as folder:
            for name in files.keys() - {_EPOCH}:
                Path(folder, name).write_bytes(files[name])
            try:
                self._begin_epoch(int(files[_EPOCH]))
                saved = tf.train.Checkpoint(iterator=self._batches).read(f"{folder}/{_ITERATOR}")
                saved.assert_consumed()
            except (tf.errors.OpError, AssertionError, LookupError, ValueError) as error:
                raise DataError(
                    f"the task {self._task.name!r} cannot resume where it stood: the saved state "
                    f"of its iterator is damaged ({tasks.first_line(error)}); delete that "
                    "checkpoint to resume from the one before it, or start over with --fresh"
                ) from error

    def _begin_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        digest = hashlib.sha256(b"%d %d" % (self._seed, epoch)).digest()
        options = tf.data.Options()
        options.deterministic = True
        try:
            batches = tasks.text_batches(
                self._task,
                "train",
                shuffle=True,
                shuffle_buffer_size=SHUFFLE_DOCUMENTS,
                seed=int.from_bytes(digest[:4], "big") >> 1,
                shard_info=seqio.ShardInfo(self._shard.index, self._shard.count),
            )
            _check_can_be_saved(batches)
        except (ValueError, tf.errors.FailedPreconditionError) as error:
            raise DataConfigError(
                f"the task {self._task.name!r} cannot be streamed: {tasks.first_line(error)}; "
                "leave out --data.streaming, or make its dataset without Python generators and "
                "with a seed"
            ) from error
        self._batches: Iterator = iter(batches.with_options(options))


def _check_can_be_saved(dataset: tf.data.Dataset) -> None:
    """Raise FailedPreconditionError for a stateful dataset, such as one of from_generator.

    Without this check, only the first save in the middle of an epoch would fail.
    """
    fail = tf.data.experimental.ExternalStatePolicy.FAIL.value
    variant = tf.data.experimental.to_variant(dataset)
    tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=fail)
