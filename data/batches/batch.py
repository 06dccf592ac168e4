"""The arrays of a batch, the interface of its sources, and a batch made of windows of tokens."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from data.batches.sizes import BatchSizes
from data.config import Packing
from data.vocabularies.sentencepiece_model import PAD_ID
from data.vocabularies.vocabulary import Vocabulary

Batch = dict[str, np.ndarray]
"""Arrays [B, T], int32 except `weights`:

inputs       token ids
targets      the ids that follow them
segment_ids  1, 2, ... for the documents of a row; 0 on padding
positions    from 0 in each document, and again from 0 at the start of a row
weights      float32: 1, but 0 on padding and where the target belongs to the next document

Without a mask between documents, a row counts as one document.
"""

ALL = slice(None)


class Batches(Protocol):
    """An endless series of training batches, and one pass over the same rows for evaluation."""

    @property
    def sizes(self) -> BatchSizes:
        """The rows of every training batch, over all hosts."""
        ...

    def __len__(self) -> int:
        """Return the number of rows in one pass."""
        ...

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Return batch `step` of an endless series: a pure function of the seed and `step`.

        Every epoch has all rows in a new order. A batch may hold the end of one epoch and the
        beginning of the next.

        Args:
          step: counted from 0.
          rows: this host's share of the batch's rows.
        """
        ...

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """Yield every row once, in order; rows of padding fill the last batch.

        Args:
          batch_size: rows of a batch, over all hosts.
          rows: this host's share of each batch's rows.
        """
        ...

    def counters(self, step: int) -> dict[str, float]:
        """Return the epochs and tokens, without padding, that the first `step` batches hold."""
        ...


def window_batch(
    windows: np.ndarray, num_real: np.ndarray, bos_id: int | None, eos_id: int | None
) -> Batch:
    """Make a batch of windows of a stream.

    A row's inputs are all tokens of its window but the last, its targets all but the first.

    Args:
      windows: [B, T + 1] int32.
      num_real: [B] predictions of each row; the rest is padding.
      bos_id: first token of a document; None if documents have none, or are not masked.
      eos_id: last token of a document; None if documents have none, or are not masked.
    """
    inputs, targets = windows[:, :-1], windows[:, 1:]
    real = np.arange(inputs.shape[1]) < num_real[:, None]
    starts, crosses = borders(inputs, targets, bos_id, eos_id)
    return make_batch(np.where(real, inputs, PAD_ID), targets, starts, real, real & ~crosses)


def borders(
    inputs: np.ndarray, targets: np.ndarray, bos_id: int | None, eos_id: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs that begin a document, and the targets of another document than the input.

    The first input of a row begins none. All arrays are [..., T]. If BOS and EOS have one id, a
    single mark stands between two documents: as a target it ends one of them, and as an input it
    begins the other. No target then belongs to another document than its input.
    """
    starts, crosses = np.zeros(inputs.shape, bool), np.zeros(inputs.shape, bool)
    if bos_id is None and eos_id is None:  # nothing separates documents
        return starts, crosses
    if bos_id == eos_id:
        starts[..., 1:] = inputs[..., 1:] == bos_id
        return starts, crosses
    begins = True if bos_id is None else targets == bos_id
    ends = True if eos_id is None else inputs == eos_id
    crosses |= begins & ends
    starts[..., 1:] = crosses[..., :-1]
    return starts, crosses


def border_ids(packing: Packing, vocabulary: Vocabulary) -> dict[str, int | None]:
    """Return the `bos_id` and `eos_id` that separate documents: None if they are not masked."""
    if packing == "unmasked":
        return {"bos_id": None, "eos_id": None}
    return {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}


def make_batch(
    inputs: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    real: np.ndarray,
    weighted: np.ndarray,
) -> Batch:
    """Add segment ids, positions and weights to inputs and targets, all [B, T].

    Args:
      inputs: token ids, PAD_ID on padding.
      targets: the ids that follow them.
      starts: whether a document begins, except the row's first.
      real: False on padding.
      weighted: whether the loss counts the target.
    """
    segment_ids = np.cumsum(starts, axis=1, dtype=np.int32) + np.int32(1)
    column = np.arange(inputs.shape[1], dtype=np.int32)
    positions = column - np.maximum.accumulate(np.where(starts, column, 0), axis=1)
    return {
        "inputs": inputs,
        "targets": targets,
        "segment_ids": segment_ids * real,
        "positions": positions * real,
        "weights": weighted.astype(np.float32),
    }
