"""The speed at which one core fills the rows of batches, in each of the two ways."""

import time
from collections.abc import Callable

import numpy as np

from data.batches.packing import row_starts
from data.batches.rows import PackedDocuments, Rows, TokenWindows
from data.batches.sizes import BatchSizes
from data.vocabularies.sentencepiece_model import BOS_ID, EOS_ID

ROWS, DOCUMENT_TOKENS, NUM_DOCUMENTS, BATCHES = 64, 3000, 333, 20


def prepare(seq_len: int) -> Callable[[], dict[str, float]]:
    """Return the work of a repeat: BATCHES batches of ROWS rows, cut and packed.

    A repeat returns the seconds of the processor's own clock per million tokens.
    """
    document = [BOS_ID, *range(4, DOCUMENT_TOKENS + 2), EOS_ID]
    tokens = np.resize(np.array(document, np.uint16), DOCUMENT_TOKENS * NUM_DOCUMENTS)
    offsets = np.arange(NUM_DOCUMENTS + 1) * DOCUMENT_TOKENS
    starts = np.concatenate(list(row_starts(offsets, seq_len)))
    sizes = BatchSizes.constant(ROWS)
    windows = TokenWindows(tokens, seq_len, sizes, 0)
    packed = PackedDocuments(tokens, seq_len, sizes, 0, starts=starts, num_documents=NUM_DOCUMENTS)
    first_batch = 0

    def seconds(rows: Rows) -> float:
        start_s = time.process_time()
        for batch in range(first_batch, first_batch + BATCHES):
            rows.train_batch(batch)
        return (time.process_time() - start_s) / (BATCHES * ROWS * seq_len / 1e6)

    def repeat() -> dict[str, float]:
        nonlocal first_batch
        taken = {"cut": seconds(windows), "packed": seconds(packed)}
        first_batch += BATCHES
        return taken

    return repeat
