"""The corpora as seqio tasks. TensorFlow is imported here (4 s), so import this module late.

A text task yields documents as `{"targets": text}`, whatever the vocabulary; `with_vocabulary` makes
of it what seqio users know: `{"targets": [BOS, ids..., EOS]}`, int32.
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
from data.text.stdlib import stdlib_corpus
from data.text.survey import Split
from data.text.tfds_sets import SETS
from data.vocabularies.vocabulary import Vocabulary


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hides what native code prints: no setting silences TensorFlow's first lines."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


# It would log what it also raises. JAX has set a lower level, for itself.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with _silent_stderr():
    import seqio
    import tensorflow as tf
    import tensorflow_datasets as tfds

    # The accelerators are JAX's: TensorFlow would take all their memory. It refuses where a
    # program around this one has used it already.
    with suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_visible_devices([], "TPU")
absl.logging.set_verbosity(absl.logging.ERROR)
# A set is read once an epoch. TensorFlow Datasets would keep one below 250 MB in memory, and in every
# snapshot of its iterator.
seqio.set_tfds_read_config_override(tfds.ReadConfig(try_autocache=False))


class SeqioVocabulary(seqio.Vocabulary):
    """A `Vocabulary` for seqio, with the same ids on every path.

    It calls the one encoder there is. TensorFlow Text's own tokenizers were measured to differ
    from it, some of them with loss.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(extra_ids=0)
        self._vocabulary = vocabulary

    @property
    def bos_id(self) -> int | None:
        return self._vocabulary.bos_id

    @property
    def eos_id(self) -> int | None:
        return self._vocabulary.eos_id

    @property
    def unk_id(self) -> int | None:
        return self._vocabulary.unk_id

    @property
    def _base_vocab_size(self) -> int:
        return self._vocabulary.size

    def _encode(self, s: str) -> Sequence[int]:
        return self._vocabulary.encode(s)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._vocabulary.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        def encode(text: bytes | np.ndarray) -> np.ndarray:
            content = np.asarray(text, dtype=object).item()  # eager calls pass a 0-d array
            return np.array(self._vocabulary.encode(content.decode("utf-8")), np.int32)

        # stateful=False keeps a pipeline's iterator checkpointable.
        ids = tf.numpy_function(encode, [s], tf.int32, stateful=False)
        return tf.ensure_shape(ids, [None])

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        def decode(batch: np.ndarray) -> np.ndarray:
            rows = batch.reshape(-1, batch.shape[-1]).tolist()
            texts = [self._vocabulary.decode(row).encode("utf-8") for row in rows]
            return np.array(texts, dtype=object).reshape(batch.shape[:-1])

        return tf.numpy_function(decode, [ids], tf.string, stateful=False)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SeqioVocabulary)
            and self._vocabulary.fingerprint == other._vocabulary.fingerprint
        )


TEXT = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.string, rank=0)
"""The output feature `targets` of a task that leaves the encoding to the run."""


_BATCH_DOCUMENTS = 64  # every element that leaves TensorFlow takes 0.2 ms


def register(name: str, texts: Callable[[Split], Iterator[str]]) -> seqio.Task:
    """Registers texts as the text task `name`, in place of an earlier one of that name.

    For T5X and one's own mixtures. When it is read the texts are held in memory: a dataset that calls
    Python for each of them was measured to hang at the end of one program in three, when it is left
    in the middle. The token cache therefore reads `texts` itself.
    """

    def read(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # there is one order; seqio shuffles what comes out
        # dtype object: NumPy's own strings would lose NULs at the end of a text.
        encoded = np.array([t.encode("utf-8") for t in texts(cast(Split, split))], dtype=object)
        return tf.data.Dataset.from_tensor_slices(encoded).map(lambda text: {"targets": text})

    return _add(name, seqio.FunctionDataSource(read, splits=["train", "validation"]))


def register_tfds(
    name: str, tfds_name: str, data_dir: str | None, splits: Mapping[Split, str]
) -> seqio.Task:
    """Registers a set of TensorFlow Datasets as the text task `name`, in place of an earlier one.

    Args:
      tfds_name: with config and version.
      data_dir: None is where TensorFlow Datasets looks by itself.
      splits: what it is to read for each split.
    """
    source = seqio.TfdsDataSource(
        tfds_name,
        tfds_data_dir=data_dir,
        splits=dict(splits),
        read_only=True,  # otherwise seqio downloads what is not there
    )
    keys = {"targets": "text"}
    return _add(name, source, [functools.partial(seqio.preprocessors.rekey, key_map=keys)])


def tfds_builder(tfds_name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """What prepares a set of TensorFlow Datasets, with bars of progress."""
    return tfds.builder(tfds_name, data_dir=data_dir)


def _add(name: str, source: object, preprocessors: Sequence[Callable] = ()) -> seqio.Task:
    seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(
        name,
        # The cast is for a slip in seqio's own annotations: no source of its own fits.
        source=cast(seqio.DataSourceInterface, source),
        preprocessors=list(preprocessors),
        output_features={"targets": TEXT},
        metric_fns=[],
    )


def with_vocabulary(task: seqio.Task, vocabulary: Vocabulary, name: str) -> seqio.Task:
    """Registers, as `name`, the text task `task` with its documents encoded."""
    seqio.TaskRegistry.remove(name)
    feature = seqio.Feature(
        SeqioVocabulary(vocabulary), add_eos=vocabulary.eos_id is not None, dtype=tf.int32
    )
    return seqio.TaskRegistry.add(
        name,
        source=cast(seqio.DataSourceInterface, task.source),
        preprocessors=[
            *task.preprocessors,
            functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False),
            functools.partial(add_marks, start=vocabulary.start, end=vocabulary.end),
        ],
        output_features={"targets": feature},
        metric_fns=[],
    )


def add_marks(
    dataset: tf.data.Dataset, start: Sequence[int], end: Sequence[int]
) -> tf.data.Dataset:
    """A seqio preprocessor that puts `start` before and `end` after every feature's ids."""
    first, last = np.array(start, np.int32), np.array(end, np.int32)
    return dataset.map(
        lambda example: {key: tf.concat([first, ids, last], 0) for key, ids in example.items()},
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def texts(task: seqio.Task, split: str) -> Iterator[str]:
    """The text of each document of `split`, in the task's own order.

    Raises:
      DataConfigError: it has no text.
      DataError: it fails.
    """
    batches = text_batches(task, split, shuffle=False)
    with explained(task, split):
        for batch in batches.as_numpy_iterator():
            yield from (text.decode("utf-8") for text in batch)


def text_batches(task: seqio.Task, split: str, **order: Any) -> tf.data.Dataset:
    """The texts of the documents of `split`, in batches: [_BATCH_DOCUMENTS] strings, fewer at the end.

    A text is the feature `targets`; of a task that encodes it already, what seqio's `tokenize` keeps
    as `targets_pretokenized`.

    Args:
      order: for `seqio.Task.get_dataset`: shuffle, seed, shard_info.

    Raises:
      DataConfigError: the task has no text.
    """
    dataset = task.get_dataset(sequence_length=None, split=split, try_in_mem_cache=False, **order)
    spec = dataset.element_spec
    keys = [key for key in ("targets", "targets_pretokenized")
            if key in spec and spec[key].dtype == tf.string and spec[key].shape.rank == 0]  # fmt: skip
    if not keys:
        raise DataConfigError(
            f"The task {task.name!r} gives no text: neither `targets` nor `targets_pretokenized` is "
            f"a string. Give it output_features={{'targets': data.seqio_tasks.tasks.TEXT}} and no tokenizer."
        )
    return dataset.map(lambda example: example[keys[0]]).batch(_BATCH_DOCUMENTS)


@contextmanager
def explained(task: seqio.Task, split: str) -> Iterator[None]:
    """What fails while documents are read becomes a DataError."""
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise DataError(
            f"The task {task.name!r} cannot read its {split} split: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """What TensorFlow says, without the names of its operations and its traces."""
    said = re.sub(r"\{\{.*?\}\} *| *\[Op:.*", "", str(error)).strip()
    return (said.splitlines() or [type(error).__name__])[0][:300]


def _stdlib(split: Split) -> Iterator[str]:
    return stdlib_corpus(cache_folder(None)).texts(split)


# What a user's own mixture may name, and T5X may read.
register("stdlib", _stdlib)
for _name, _set in SETS.items():
    register_tfds(
        _name,
        f"{_set.name}:{_set.version}",
        None,
        {"train": "train", "validation": f"{_set.held_out}[:{_set.max_held_out}]"},
    )
