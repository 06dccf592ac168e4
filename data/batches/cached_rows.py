"""From a token cache to the rows of a run."""

from pathlib import Path

import numpy as np

from data.batches.rows import PackedDocuments, Rows, TokenWindows, row_starts
from data.config import Data
from data.errors import DataError
from data.storage import replace_file
from data.tokens.cache import TokenSplit
from data.vocabularies.base import Vocabulary


def make_rows(
    config: Data,
    split: TokenSplit,
    vocabulary: Vocabulary,
    seq_len: int,
    batch_size: int,
    source: int = 0,
) -> Rows:
    """The rows of one source. `source`: its number, so that no two have the same order."""
    ends = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}
    seed = config.seed + source * 0x9E3779B97F4A7C15
    if config.packing == "split":
        return TokenWindows(split.tokens, seq_len, batch_size, seed, **ends)
    return PackedDocuments(
        split.tokens,
        seq_len,
        batch_size,
        seed,
        **ends,
        starts=_cached_starts(split, seq_len),
        num_documents=len(split.offsets) - 1,
    )


def _cached_starts(split: TokenSplit, seq_len: int) -> np.ndarray:
    """What `row_starts` plans, memory-mapped from a file beside the offsets."""
    offsets = Path(str(split.offsets.filename))
    path = offsets.with_name(f"{offsets.stem}.rows-{seq_len}")
    for _ in range(2):
        if path.exists() and path.stat().st_size:
            starts = np.memmap(path, np.int64, mode="r")
            if starts[-1] == len(split.tokens):
                return starts
        replace_file(path, np.concatenate(list(row_starts(split.offsets, seq_len))).tobytes())
    raise DataError(f"{path} cannot be read back. Delete the folder {path.parent}.")
