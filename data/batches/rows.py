"""From a stream of tokens to batches, exact and resumable.

A stream is documents end to end, each BOS, ids, EOS; no id between is one of these. BOS may be the
same id as EOS, and a vocabulary that came with imported weights may have only one of them. There are
two ways to fill rows: `TokenWindows` cuts the stream wherever a row is full, `PackedDocuments` keeps
documents whole.
"""

import abc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from data.batches.permutation import epoch_order
from data.vocabularies.base import BOS_ID, EOS_ID, PAD_ID

Batch = dict[str, np.ndarray]
"""Arrays [B, T], int32 but for `weights`:

inputs       token ids
targets      the ids that follow them
segment_ids  1, 2, ... for the documents of a row; 0 on padding
positions    from 0 in each document, and again from 0 at the start of a row
weights      float32: 1, but 0 where the target is of the document after the input's, and on padding
"""

ALL = slice(None)


class Batches(Protocol):
    """An endless series of training batches, and one pass over the same rows for evaluation."""

    @property
    def batch_size(self) -> int:
        """Rows of a training batch over all hosts."""
        ...

    def __len__(self) -> int:
        """Rows of one pass."""
        ...

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Batch `step` of an endless series, a pure function of the seed and `step`.

        Every epoch is another order of all rows; a batch may end one and begin the next.

        Args:
          step: from 0.
          rows: which rows of the batch to return: a host's share.
        """
        ...

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """Every row once, in order. The last batch is filled up with rows of padding.

        Args:
          batch_size: rows of a batch over all hosts.
          rows: which rows of each batch to return: a host's share.
        """
        ...

    def counters(self, step: int) -> dict[str, float]:
        """Epochs and tokens read, the padding left out, when `step` batches have been seen."""
        ...


@dataclass(frozen=True, eq=False)
class Rows(abc.ABC):
    """Rows of `seq_len` predictions, made from a stream of documents.

    Attributes:
      tokens: [num_tokens] unsigned integers.
      seq_len: T.
      batch_size: rows of a training batch over all hosts.
      seed: of the order in which training sees the rows.
      bos_id: first token of a document; None if it has no such mark.
      eos_id: last token of a document; None if it has no such mark.
    """

    tokens: np.ndarray
    seq_len: int
    batch_size: int
    seed: int
    bos_id: int | None = field(default=BOS_ID, kw_only=True)
    eos_id: int | None = field(default=EOS_ID, kw_only=True)

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of rows, those that are padded included."""

    @abc.abstractmethod
    def rows(self, index: np.ndarray) -> Batch:
        """The rows `index`, [B] int64; beyond the last a row is padding."""

    @property
    @abc.abstractmethod
    def num_predictions(self) -> int:
        """Targets of all rows, the padding left out."""

    @property
    def padding(self) -> float:
        """The share of padding in all rows."""
        return 1 - self.num_predictions / (len(self) * self.seq_len)

    def draws(self, index: np.ndarray) -> Batch:
        """The rows of draws `index`, [B] uint64, of the endless series of shuffled epochs."""
        return self.rows(epoch_order(index, len(self), self.seed))

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """See `Batches`."""
        start = step * self.batch_size
        return self.draws(np.arange(start, start + self.batch_size, dtype=np.uint64)[rows])

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """See `Batches`."""
        for start in range(0, len(self), batch_size):
            yield self.rows(np.arange(start, start + batch_size)[rows])

    def counters(self, step: int) -> dict[str, float]:
        """See `Batches`."""
        epochs = step * self.batch_size / len(self)
        return {"data/epochs": epochs, "data/tokens": round(epochs * self.num_predictions)}


class TokenWindows(Rows):
    """Concatenate and split: no padding but in the last row; see `window_batch`.

    Row i is `tokens[i * T : i * T + T + 1]`, its inputs all but the last of these and its targets
    all but the first. So every token but the first is a target once, and nothing is dropped.
    """

    def __len__(self) -> int:
        return (self.num_predictions - 1) // self.seq_len + 1

    @property
    def num_predictions(self) -> int:
        return len(self.tokens) - 1

    def rows(self, index: np.ndarray) -> Batch:
        num_real = np.clip(self.num_predictions - index * self.seq_len, 0, self.seq_len)
        return window_batch(self._gather(index), num_real, self.bos_id, self.eos_id)

    def _gather(self, index: np.ndarray) -> np.ndarray:
        """[B, T + 1] int32 token ids, filled up with PAD_ID."""
        length = self.seq_len + 1
        num_full = self.num_predictions // self.seq_len
        tokens = np.full((len(index), length), PAD_ID, np.int32)
        full = index < num_full
        if full.any():
            view = np.lib.stride_tricks.sliding_window_view(self.tokens, length)
            tokens[full] = view[index[full] * self.seq_len]
        rest = self.tokens[num_full * self.seq_len :]
        if len(rest) > 1:
            tokens[index == num_full, : len(rest)] = rest
        return tokens


@dataclass(frozen=True, eq=False)
class PackedDocuments(Rows):
    """Whole documents, as many in order as fit into a row; the rest of the row is padding.

    Only a document longer than a row is cut: its pieces but the last fill a row each. Every token
    but each document's BOS is a target once, and nothing is dropped.

    Attributes:
      starts: [num_rows + 1] where each row begins in `tokens`, and the end; see `row_starts`.
      num_documents: in `tokens`.
    """

    starts: np.ndarray = field(kw_only=True)
    num_documents: int = field(kw_only=True)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def num_predictions(self) -> int:
        return len(self.tokens) - self.num_documents

    def rows(self, index: np.ndarray) -> Batch:
        shape = len(index), self.seq_len
        inputs, targets = np.full(shape, PAD_ID, np.int32), np.full(shape, PAD_ID, np.int32)
        starts, real = np.zeros(shape, bool), np.zeros(shape, bool)
        for row, number in enumerate(index.tolist()):
            if number >= len(self):
                continue
            begin, end = self.starts[number : number + 2].tolist()
            # A row that a document is cut at ends with the token at which the next one begins.
            span = self.tokens[begin : end + 1]
            into_next = _borders(span[:-1], span[1:], self.bos_id, self.eos_id)
            kept = np.flatnonzero(~into_next)
            length = len(kept)
            inputs[row, :length] = span[kept]
            targets[row, :length] = span[kept + 1]
            starts[row, :length] = np.concatenate([[False], into_next])[kept]
            real[row, :length] = True
        return _batch(inputs, targets, starts, real, real)


def row_starts(offsets: np.ndarray, seq_len: int) -> Iterator[np.ndarray]:
    """Where the rows of `PackedDocuments` begin in the stream, and its end, in pieces: int64.

    Args:
      offsets: [num_documents + 1] where the documents begin in the stream, and its end.
      seq_len: predictions in a row; a document of n tokens has n - 1.
    """
    num_documents = len(offsets) - 1
    document = 0  # the next that begins a row
    while document < num_documents:
        # A row has no more documents than predictions, but for one that goes on from the row before.
        first, end = document, min(document + _PLANNED_DOCUMENTS, num_documents)
        begins = np.asarray(offsets[first : end + seq_len + 2], np.int64)
        predictions_before = begins - np.arange(len(begins))
        lengths = np.diff(predictions_before)[: end - first]
        num_cuts = np.maximum(-(-lengths // seq_len) - 1, 0)
        space = (num_cuts + 1) * seq_len - lengths
        limits = predictions_before[1 : end - first + 1] + space
        following = np.searchsorted(predictions_before, limits, side="right") - 1
        chain, steps = [], following.tolist()
        while document < end:
            chain.append(document - first)
            document = first + steps[document - first]
        rows = num_cuts[chain] + 1
        number_in_document = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
        yield np.repeat(begins[chain], rows) + number_in_document * seq_len
    yield np.asarray(offsets[-1:], np.int64)


_PLANNED_DOCUMENTS = 1 << 20


def window_batch(
    windows: np.ndarray, num_real: np.ndarray, bos_id: int | None, eos_id: int | None
) -> Batch:
    """The rows of windows of a stream: inputs are all tokens but the last, targets all but the first.

    Args:
      windows: [B, T + 1] int32.
      num_real: [B] predictions of each row; the rest is padding.
      bos_id: first token of a document; None if it has no such mark.
      eos_id: last token of a document; None if it has no such mark.
    """
    inputs, targets = windows[:, :-1], windows[:, 1:]
    real = np.arange(inputs.shape[1]) < num_real[:, None]
    into_next = _borders(inputs, targets, bos_id, eos_id)
    starts = np.zeros_like(real)
    starts[:, 1:] = into_next[:, :-1]
    return _batch(np.where(real, inputs, PAD_ID), targets, starts, real, real & ~into_next)


def _borders(
    tokens: np.ndarray, following: np.ndarray, bos_id: int | None, eos_id: int | None
) -> np.ndarray:
    """Whether a document ends in `tokens` and another begins in `following`, of any shape."""
    begins = np.broadcast_to(bos_id is None, following.shape)
    ends = np.broadcast_to(eos_id is None, tokens.shape)
    if bos_id is None and eos_id is None:
        return ~begins  # nothing tells: the documents run on into each other
    if bos_id is not None:
        begins = following == bos_id
    if eos_id is not None:
        ends = tokens == eos_id
    return begins & ends


def _batch(
    inputs: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    real: np.ndarray,
    weighted: np.ndarray,
) -> Batch:
    """Args: inputs and targets [B, T]; where a document begins, padding ends, the loss counts."""
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
