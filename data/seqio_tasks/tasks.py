"""The corpora as seqio tasks. TensorFlow is imported here (4 s), so import this module late.

A task yields documents as `{"targets": text}`. The run encodes them with its vocabulary.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import absl.logging
import numpy as np

from data.errors import DataConfigError, DataError
from data.storage import cache_folder
from data.text.packages import packages_corpus
from data.text.stdlib import stdlib_corpus
from data.text.survey import Split
from data.text.tfds_sets import SETS


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hide what native code prints: no setting silences TensorFlow's first lines."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


# Otherwise TensorFlow logs the errors that it also raises: JAX has set a lower level for itself.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with _silent_stderr():
    import seqio
    import tensorflow as tf
    import tensorflow_datasets as tfds

    # The accelerators are for JAX: TensorFlow would take all their memory. It refuses if the
    # program that imports this module has used TensorFlow already.
    with suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_visible_devices([], "TPU")
absl.logging.set_verbosity(absl.logging.ERROR)
# A set is read once per epoch. By default TensorFlow Datasets keeps a set below 250 MB in memory,
# and in every snapshot of its iterator.
seqio.set_tfds_read_config_override(tfds.ReadConfig(try_autocache=False))


TEXT = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.string, rank=0)
"""The output feature `targets` of a task that leaves the encoding to the run."""

_BATCH_DOCUMENTS = 64
"""Documents per element of a dataset: taking an element out of TensorFlow costs 0.2 ms."""


def register(name: str, texts: Callable[[Split], Iterator[str]]) -> seqio.Task:
    """Register texts as the task `name`, in place of an earlier one of that name.

    It is for T5X and for users' own mixtures. When the task is read, the texts are held in memory:
    a dataset that calls Python for each of them, if not read to its end, was measured to hang one
    program in three at exit. The token cache therefore reads `texts` itself.
    """

    def read(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # the texts have one order; seqio shuffles what comes out
        # dtype object: NumPy's own strings would lose NULs at the end of a text.
        encoded = np.array([t.encode("utf-8") for t in texts(cast(Split, split))], dtype=object)
        return tf.data.Dataset.from_tensor_slices(encoded).map(lambda text: {"targets": text})

    return _replace_task(name, seqio.FunctionDataSource(read, splits=["train", "validation"]))


def register_tfds(
    name: str,
    tfds_name: str,
    data_dir: str | None,
    splits: Mapping[Split, str],
    field: str = "text",
) -> seqio.Task:
    """Register a set of TensorFlow Datasets as the task `name`, in place of an earlier one.

    Args:
      tfds_name: with config and version.
      data_dir: None: the folder that TensorFlow Datasets uses.
      splits: the part of the set to read for each split.
      field: the feature that holds a document's text.
    """
    source = seqio.TfdsDataSource(
        tfds_name,
        tfds_data_dir=data_dir,
        splits=dict(splits),
        read_only=True,  # otherwise seqio downloads a set that is missing
    )
    keys = {"targets": field}
    return _replace_task(name, source, [functools.partial(seqio.preprocessors.rekey, key_map=keys)])


def tfds_builder(tfds_name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """Return the builder that prepares a set of TensorFlow Datasets, with progress bars."""
    return tfds.builder(tfds_name, data_dir=data_dir)


def _replace_task(name: str, source: object, preprocessors: Sequence[Callable] = ()) -> seqio.Task:
    seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(
        name,
        # The cast corrects seqio's annotations, which do not admit even seqio's sources.
        source=cast(seqio.DataSourceInterface, source),
        preprocessors=list(preprocessors),
        output_features={"targets": TEXT},
        metric_fns=[],
    )


def texts(task: seqio.Task, split: str) -> Iterator[str]:
    """Yield the text of each document of `split`, in the task's own order.

    Raises DataConfigError if the task has no text, and DataError if it fails.
    """
    batches = text_batches(task, split, shuffle=False)
    with read_errors(task, split):
        for batch in batches.as_numpy_iterator():
            yield from (text.decode("utf-8") for text in batch)


def text_batches(task: seqio.Task, split: str, **order: Any) -> tf.data.Dataset:
    """Return the texts of `split` in batches: [_BATCH_DOCUMENTS] strings, fewer in the last.

    A text is the feature `targets` or, if the task encodes its text already, the feature
    `targets_pretokenized`, in which seqio's `tokenize` keeps the text. Raises DataConfigError if
    the task has neither.

    Args:
      order: for `seqio.Task.get_dataset`: shuffle, seed, shard_info.
    """
    dataset = task.get_dataset(sequence_length=None, split=split, try_in_mem_cache=False, **order)
    spec = dataset.element_spec

    def is_text(key: str) -> bool:
        return key in spec and spec[key].dtype == tf.string and spec[key].shape.rank == 0

    key = next(filter(is_text, ("targets", "targets_pretokenized")), None)
    if key is None:
        raise DataConfigError(
            f"the task {task.name!r} gives no text: neither `targets` nor `targets_pretokenized` "
            "is a string; give it output_features={'targets': data.seqio_tasks.tasks.TEXT} and no "
            "tokenizer"
        )
    return dataset.map(lambda example: example[key]).batch(_BATCH_DOCUMENTS)


@contextmanager
def read_errors(task: seqio.Task, split: str) -> Iterator[None]:
    """Turn an error while documents are read into a DataError."""
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise DataError(
            f"the task {task.name!r} cannot read its {split} split: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """Return TensorFlow's reason, without operation names, traces or a final full stop."""
    reason = re.sub(r"\{\{.*?\}\} *| *\[Op:.*", "", str(error)).strip()
    return (reason.splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def _stdlib_texts(split: Split) -> Iterator[str]:
    return stdlib_corpus(cache_folder(None)).texts(split)


def _packages_texts(split: Split) -> Iterator[str]:
    return packages_corpus(cache_folder(None)).texts(split)


# Tasks that a user's own mixture may name, and that T5X may read.
register("stdlib", _stdlib_texts)
register("packages", _packages_texts)
for _name, _set in SETS.items():
    _splits = _set.splits(_set.max_held_out)
    register_tfds(_name, f"{_set.name}:{_set.version}", None, _splits, _set.field)
