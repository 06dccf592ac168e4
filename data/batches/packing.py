"""The plan that packs whole documents into rows, as many in order as fit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.storage import replace_file
from data.tokens.cache import TokenSplit

_DOCUMENTS_PER_BLOCK = 1 << 20


def cached_row_starts(split: TokenSplit, seq_len: int, *, one_mark: bool) -> np.ndarray:
    """Return all of `row_starts`, memory-mapped from a file beside the offsets.

    Raises DataError if the file cannot be written, or cannot be read back.
    """
    offsets = Path(str(split.offsets.filename))
    path = offsets.with_name(f"{offsets.stem}.rows-{seq_len}")
    for _ in range(2):
        if path.exists() and path.stat().st_size:
            starts = np.memmap(path, np.int64, mode="r")
            if starts[-1] == len(split.tokens):
                return starts
        rows = list(row_starts(split.offsets, seq_len, one_mark=one_mark))
        replace_file(path, np.concatenate(rows).tobytes())
    raise DataError(f"{path} cannot be read back; delete the folder {path.parent}")


def row_starts(
    offsets: np.ndarray, seq_len: int, *, one_mark: bool = False
) -> Iterator[np.ndarray]:
    """Yield the index at which each row of packed documents begins, and the end, in int64 blocks.

    Args:
      offsets: [num_documents + 1] where the documents begin in the stream, and its end.
      seq_len: predictions in a row.
      one_mark: whether the mark that begins a document ends the one before it. A document of n
        tokens then has n predictions; the last one, and otherwise every document, has n - 1.
    """
    num_documents = len(offsets) - 1
    document = 0  # the next one to begin a row
    while document < num_documents:
        # A row has at most `seq_len` documents, plus one that began in an earlier row.
        first, end = document, min(document + _DOCUMENTS_PER_BLOCK, num_documents)
        begins = np.asarray(offsets[first : end + seq_len + 2], np.int64)
        numbers = np.arange(first, first + len(begins))
        # Tokens before a document that are no targets, but for a constant.
        predictions_before = begins - (numbers == num_documents if one_mark else numbers)
        lengths = np.diff(predictions_before)[: end - first]
        num_cuts = np.maximum(-(-lengths // seq_len) - 1, 0)
        space = (num_cuts + 1) * seq_len - lengths
        limits = predictions_before[1 : end - first + 1] + space
        next_first = (np.searchsorted(predictions_before, limits, side="right") - 1).tolist()
        row_firsts = []
        while document < end:
            row_firsts.append(document - first)
            document = first + next_first[document - first]
        num_rows = num_cuts[row_firsts] + 1  # one, or more for a document longer than a row
        rows_before = np.repeat(np.cumsum(num_rows) - num_rows, num_rows)
        row_in_document = np.arange(num_rows.sum()) - rows_before
        yield np.repeat(begins[row_firsts], num_rows) + row_in_document * seq_len
    yield np.asarray(offsets[-1:], np.int64)
