"""Evaluation rows that overlap, so that most tokens are predicted from a long context."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from data.batches.batch import ALL, Batch
from data.batches.mixture import Mixture
from data.batches.rows import PackedDocuments, Rows, TokenWindows


class EvaluationRows(Protocol):
    """One pass over the rows of a text."""

    def __len__(self) -> int:
        """Return the number of rows in one pass."""
        ...

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """Yield every row once, in order; see `Batches`."""
        ...


@dataclass(frozen=True)
class Window:
    """A row of predictions: the inputs are `tokens[begin:end]`, and the targets the next tokens."""

    begin: int
    end: int
    context: int
    """The first targets, which have weight 0: an earlier window counts them."""


@dataclass(frozen=True, eq=False)
class SlidingWindows:
    """Windows of `seq_len` tokens that move by `stride` tokens over the text of some rows.

    A window counts only its last `stride` targets, but the first one of a text counts all of its
    targets: every target counts once, and all but the first `seq_len` have at least `seq_len -
    stride` tokens before them in their window. Rows that run documents together are one text.
    Where documents are kept whole, each that is longer than a row is a text of its own, and the
    shorter ones keep their rows.
    """

    sources: tuple[Rows, ...]
    """The rows that the windows replace."""
    stride: int
    """Tokens from the start of one window to that of the next, at most `seq_len`."""

    @classmethod
    def over(cls, rows: EvaluationRows, stride: int) -> "SlidingWindows":
        """Return the windows over the rows of one source, or of each source of a mixture."""
        match rows:
            case Rows():
                return cls((rows,), stride)
            case Mixture():
                return cls(tuple(rows.sources.values()), stride)
            case _:
                raise TypeError(f"no windows slide over {type(rows).__name__}")

    def __len__(self) -> int:
        return sum(map(len, self._windows))

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """Yield all windows of the first source, then of the next; see `Batches`."""
        for source, windows in zip(self.sources, self._windows, strict=True):
            for start in range(0, len(windows), batch_size):
                batch = windows[start : start + batch_size]
                padded = [*batch, *[None] * (batch_size - len(batch))]
                yield _concatenated([_row(source, window) for window in padded[rows]])

    @cached_property
    def _windows(self) -> list[list[Window]]:
        return [list(_windows(source, self.stride)) for source in self.sources]


def _windows(rows: Rows, stride: int) -> Iterator[Window]:
    match rows:
        case TokenWindows():
            yield from _slide(0, rows.num_predictions, rows.seq_len, stride)
        case PackedDocuments():
            yield from _slide_in_long_documents(rows, stride)
        case _:
            raise TypeError(f"no windows slide over {type(rows).__name__}")


def _slide(begin: int, end: int, seq_len: int, stride: int) -> Iterator[Window]:
    """Yield the windows of a text whose inputs are `tokens[begin:end]`."""
    yield Window(begin, min(begin + seq_len, end), 0)
    for start in range(begin + stride, end - seq_len + stride, stride):
        yield Window(start, min(start + seq_len, end), seq_len - stride)


def _slide_in_long_documents(rows: PackedDocuments, stride: int) -> Iterator[Window]:
    starts = rows.starts.tolist()
    continues = [*(not _begins_document(rows, start) for start in starts[1:-1]), False]
    long_begin = None  # the start of a document that is longer than a row
    for begin, end, is_cut in zip(starts[:-1], starts[1:], continues, strict=True):
        if is_cut:
            long_begin = begin if long_begin is None else long_begin
            continue
        if long_begin is not None:
            inside = range(begin + 1, end)
            document_end = next((i for i in inside if _begins_document(rows, i)), end)
            yield from _slide(long_begin, document_end, rows.seq_len, stride)
            long_begin, begin = None, document_end
        if begin < end:
            yield Window(begin, end, 0)


def _begins_document(rows: Rows, index: int) -> bool:
    if rows.bos_id is not None:
        return bool(rows.tokens[index] == rows.bos_id)
    return bool(rows.tokens[index - 1] == rows.eos_id)


def _row(rows: Rows, window: Window | None) -> Batch:
    """Return one row [1, T]; padding for None."""
    match window, rows:
        case None, _:
            return rows.rows(np.array([len(rows)]))
        case Window(begin, end, context), PackedDocuments():
            row = replace(rows, starts=np.array([begin, end])).rows(np.array([0]))
        case Window(begin, end, context), _:
            row = replace(rows, tokens=rows.tokens[begin : end + 1]).rows(np.array([0]))
    row["weights"][:, :context] = 0
    return row


def _concatenated(rows: list[Batch]) -> Batch:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
