"""The corpora as seqio tasks. The only module that imports TensorFlow (4 s, so import it late).

A task yields documents as seqio users know them: `{"targets": [BOS, ids..., EOS]}`, int32, with the
marks that the vocabulary has.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import absl.logging
import numpy as np

from data.corpus import Corpus
from data.vocabularies import Vocabulary


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


with _silent_stderr():
    import seqio
    import tensorflow as tf

    # The accelerators are JAX's: TensorFlow would take all their memory. It refuses where a
    # program around this one has used it already.
    with suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_visible_devices([], "TPU")
absl.logging.set_verbosity(absl.logging.ERROR)


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


def register(name: str, corpus: Corpus, vocabulary: Vocabulary) -> seqio.Task:
    """Registers `corpus` as the seqio task `name`, in place of an earlier one of that name."""
    splits = {"train": corpus.train, "validation": corpus.validation}

    def read(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # the documents are in memory: seqio shuffles them itself
        # dtype object: NumPy's own strings would lose NULs at the end of a text.
        texts = np.array([d.text.encode("utf-8") for d in splits[split]], dtype=object)
        return tf.data.Dataset.from_tensor_slices(texts).map(lambda text: {"targets": text})

    source = seqio.FunctionDataSource(
        read, splits=list(splits), num_input_examples={k: len(v) for k, v in splits.items()}
    )
    seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(
        name,
        # The cast is for a slip in seqio's own annotations: no source of its own fits.
        source=cast(seqio.DataSourceInterface, source),
        preprocessors=[
            functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False),
            functools.partial(add_marks, start=vocabulary.start, end=vocabulary.end),
        ],
        output_features={
            "targets": seqio.Feature(
                SeqioVocabulary(vocabulary), add_eos=bool(vocabulary.end), dtype=tf.int32
            )
        },
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


def encoded_documents(task: seqio.Task, split: str) -> Iterator[np.ndarray]:
    """The ids of each document of `split`, in the corpus's order: int32 arrays."""
    dataset = task.get_dataset(
        sequence_length=None, split=split, shuffle=False, try_in_mem_cache=False
    )
    for example in dataset.as_numpy_iterator():
        yield example["targets"]
