"""Rows of `seq_len` predictions from a token cache, in an order that a seed decides.

A stream of tokens is documents end to end, each BOS, ids, EOS; text never has either of these ids.
If BOS and EOS have the same id, it stands once between two documents; a vocabulary may have only
one of them or, as GPT-1's, none. Rows are filled in two ways: `TokenWindows` cuts the stream
wherever a row is full, and `PackedDocuments` keeps documents whole.
"""

import abc
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from data.batches.batch import ALL, Batch, border_ids, borders, make_batch, window_batch
from data.batches.packing import cached_row_starts
from data.batches.permutation import epoch_order
from data.batches.sizes import BatchSizes
from data.config import Data
from data.errors import DataConfigError
from data.tokens.cache import TokenSplit
from data.vocabularies.sentencepiece_model import BOS_ID, EOS_ID, PAD_ID
from data.vocabularies.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Rows(abc.ABC):
    """Rows of `seq_len` predictions, made from a stream of documents."""

    tokens: np.ndarray
    """[num_tokens] unsigned integers."""
    seq_len: int
    """Predictions in a row, T."""
    sizes: BatchSizes
    """Rows of every training batch, over all hosts."""
    seed: int
    """Seed of the order in which training sees the rows."""
    bos_id: int | None = field(default=BOS_ID, kw_only=True)
    """First token of a document; None if documents have none, or are not masked."""
    eos_id: int | None = field(default=EOS_ID, kw_only=True)
    """Last token of a document; None if documents have none, or are not masked."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of rows, including padded ones."""

    @abc.abstractmethod
    def rows(self, index: np.ndarray) -> Batch:
        """Return the rows `index`, [B] int64; an index beyond the last gives padding."""

    @property
    @abc.abstractmethod
    def num_predictions(self) -> int:
        """Targets of all rows, without padding."""

    @property
    def padding(self) -> float:
        """The share of padding in all rows."""
        return 1 - self.num_predictions / (len(self) * self.seq_len)

    def draws(self, index: np.ndarray) -> Batch:
        """Return rows of draws `index`, [B] uint64, in the endless series of shuffled epochs."""
        return self.rows(epoch_order(index, len(self), self.seed))

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Return a training batch; see `Batches`."""
        start, stop = self.sizes.before(step), self.sizes.before(step + 1)
        return self.draws(np.arange(start, stop, dtype=np.uint64)[rows])

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """Yield all rows in order; see `Batches`."""
        for start in range(0, len(self), batch_size):
            yield self.rows(np.arange(start, start + batch_size)[rows])

    def counters(self, step: int) -> dict[str, float]:
        """Return epochs and tokens; see `Batches`."""
        epochs = self.sizes.before(step) / len(self)
        return {"data/epochs": epochs, "data/tokens": round(epochs * self.num_predictions)}


class TokenWindows(Rows):
    """Rows that cut the stream wherever one is full: only the last row is padded.

    Row i is `tokens[i * T : i * T + T + 1]`; its inputs are all but the last of these tokens and
    its targets all but the first. Every token but the stream's first is a target exactly once.
    """

    def __len__(self) -> int:
        return (self.num_predictions - 1) // self.seq_len + 1

    @property
    def num_predictions(self) -> int:
        return len(self.tokens) - 1

    def rows(self, index: np.ndarray) -> Batch:
        num_real = np.clip(self.num_predictions - index * self.seq_len, 0, self.seq_len)
        return window_batch(self._windows(index), num_real, self.bos_id, self.eos_id)

    def _windows(self, index: np.ndarray) -> np.ndarray:
        """Return [B, T + 1] int32 token ids, filled up with PAD_ID."""
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
    """Rows of whole documents, as many in order as fit; the rest of a row is padding.

    Only a document longer than a row is cut: each part but the last fills a row. Every token but
    each document's BOS is a target exactly once; where BOS is EOS, every token but the first.
    """

    starts: np.ndarray = field(kw_only=True)
    """[num_rows + 1] where each row begins in `tokens`, and the end; see `packing.row_starts`."""
    num_documents: int = field(kw_only=True)
    """Documents in `tokens`."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def num_predictions(self) -> int:
        return len(self.tokens) - (1 if self.bos_id == self.eos_id else self.num_documents)

    def rows(self, index: np.ndarray) -> Batch:
        shape = len(index), self.seq_len
        inputs, targets = np.full(shape, PAD_ID, np.int32), np.full(shape, PAD_ID, np.int32)
        starts, real = np.zeros(shape, bool), np.zeros(shape, bool)
        for row, number in enumerate(index.tolist()):
            if number >= len(self):
                continue
            begin, end = self.starts[number : number + 2].tolist()
            # If a document is cut, the row's last target is the first token of the next row.
            span = self.tokens[begin : end + 1]
            begins, crosses = borders(span[:-1], span[1:], self.bos_id, self.eos_id)
            columns = np.flatnonzero(~crosses)
            length = len(columns)
            inputs[row, :length] = span[columns]
            targets[row, :length] = span[columns + 1]
            starts[row, :length] = begins[columns]
            real[row, :length] = True
        return make_batch(inputs, targets, starts, real, real)


def make_rows(
    config: Data,
    split: TokenSplit,
    vocabulary: Vocabulary,
    seq_len: int,
    sizes: BatchSizes,
    source: int = 0,
) -> Rows:
    """Return the rows of one source; its number `source` makes its order differ from the others'.

    Raises DataError if the plan of packed rows cannot be written beside the token cache, and
    DataConfigError if whole documents are asked for that nothing separates.
    """
    special_ids = border_ids(config.packing, vocabulary)
    seed = config.seed + source * 0x9E3779B97F4A7C15
    if config.packing != "whole":
        return TokenWindows(split.tokens, seq_len, sizes, seed, **special_ids)
    if not vocabulary.separates_documents:
        raise DataConfigError(
            "data.packing='whole' needs a vocabulary with a token between documents, and this one "
            "has neither BOS nor EOS; write --data.packing=unmasked, or name another vocabulary"
        )
    return PackedDocuments(
        split.tokens,
        seq_len,
        sizes,
        seed,
        **special_ids,
        starts=cached_row_starts(split, seq_len, one_mark=vocabulary.bos_id == vocabulary.eos_id),
        num_documents=len(split.offsets) - 1,
    )
