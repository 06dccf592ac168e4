"""From a stream of tokens to batches: GPT-style concatenate-and-split, exact and resumable."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.permutation import epoch_order
from data.vocabularies import BOS_ID, EOS_ID, PAD_ID

Batch = dict[str, np.ndarray]
"""Arrays [B, T], int32 but for `weights`:

inputs       token ids
targets      the ids that follow them
segment_ids  1, 2, ... for the documents of a row; 0 on padding
positions    from 0 in each document, and again from 0 at the start of a row
weights      float32: 1, but 0 where the target is another document's BOS, and on padding. A mark
             that is BOS and EOS in one counts: it ends the document before it
"""


@dataclass(frozen=True, eq=False)
class TokenWindows:
    """Windows of `seq_len` predictions over a stream of documents.

    Window i is `tokens[i * T : i * T + T + 1]`, its inputs all but the last of these and its
    targets all but the first. So every token but the first is a target once, and nothing is
    dropped: the last window is padded.

    Attributes:
      tokens: [num_tokens] unsigned integers; each document with its vocabulary's marks.
      seq_len: T.
      batch_size: rows of a training batch over all hosts.
      seed: of the order in which training sees the windows.
      bos_id: starts a document. None: it starts after `eos_id`; without that too, the documents
        run on into each other.
      eos_id: ends a document.
    """

    tokens: np.ndarray
    seq_len: int
    batch_size: int
    seed: int
    bos_id: int | None = BOS_ID
    eos_id: int | None = EOS_ID

    def __len__(self) -> int:
        """The number of windows, the padded one included."""
        return (len(self.tokens) - 2) // self.seq_len + 1

    def train_batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Batch `step` of an endless series, a pure function of the seed and `step`.

        Every epoch is another order of all windows; a batch may end one and begin the next.

        Args:
          step: from 0.
          rows: which rows of the batch to return: a host's share.
        """
        start = step * self.batch_size
        draws = np.arange(start, start + self.batch_size, dtype=np.uint64)[rows]
        return self._batch(epoch_order(draws, len(self), self.seed))

    def eval_batches(self, batch_size: int, rows: slice = slice(None)) -> Iterator[Batch]:
        """Every window once, in order. The last batch is filled up with rows of padding.

        Args:
          batch_size: rows of a batch over all hosts.
          rows: which rows of each batch to return: a host's share.
        """
        for start in range(0, len(self), batch_size):
            yield self._batch(np.arange(start, start + batch_size)[rows])

    def _batch(self, windows: np.ndarray) -> Batch:
        """The rows of `windows`, [B] int64; beyond the last window a row is padding."""
        tokens, real = self._gather(windows)
        targets = tokens[:, 1:]
        inputs = np.where(real, tokens[:, :-1], PAD_ID)

        starts = real & self._starts(inputs)
        segment_ids = np.cumsum(starts, axis=1, dtype=np.int32)
        segment_ids += 1 - segment_ids[:, :1]  # a row that starts inside a document counts it too
        column = np.arange(self.seq_len, dtype=np.int32)
        next_document = (targets == self.bos_id) & (self.bos_id != self.eos_id)
        positions = column - np.maximum.accumulate(np.where(starts, column, 0), axis=1)
        return {
            "inputs": inputs,
            "targets": targets,
            "segment_ids": segment_ids * real,
            "positions": positions * real,
            "weights": (real & ~next_document).astype(np.float32),
        }

    def _starts(self, inputs: np.ndarray) -> np.ndarray:
        """[B, T] bool: where a document begins."""
        if self.bos_id is not None:
            return inputs == self.bos_id
        after_the_end = np.zeros(inputs.shape, bool)
        after_the_end[:, 1:] = inputs[:, :-1] == self.eos_id
        return after_the_end

    def _gather(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B, T + 1] int32 token ids, filled up with PAD_ID, and which targets, [B, T], are real."""
        length = self.seq_len + 1
        num_full = (len(self.tokens) - 1) // self.seq_len
        tokens = np.full((len(windows), length), PAD_ID, np.int32)
        full = windows < num_full
        if full.any():
            view = np.lib.stride_tricks.sliding_window_view(self.tokens, length)
            tokens[full] = view[windows[full] * self.seq_len]
        rest = self.tokens[num_full * self.seq_len :]
        if len(rest) > 1:
            tokens[windows == num_full, : len(rest)] = rest
        place = windows[:, None] * self.seq_len + np.arange(1, length)
        return tokens, place < len(self.tokens)
