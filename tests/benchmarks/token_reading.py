"""The tokens per second that each way of filling rows reads, on one core.

python tests/benchmarks/token_reading.py
"""

import time

import numpy as np

from data.batches.packing import row_starts
from data.batches.rows import PackedDocuments, Rows, TokenWindows
from data.vocabularies.sentencepiece_model import BOS_ID, EOS_ID

ROWS, SEQ_LEN, DOCUMENT, NUM_DOCUMENTS = 64, 1024, 3000, 333


def tokens_per_s(rows: Rows, steps: int = 50) -> float:
    """Return the best rate of some batches, by the processor's own clock."""
    taken_s = []
    for step in range(steps):
        start_s = time.process_time()
        rows.train_batch(step)
        taken_s.append(time.process_time() - start_s)
    return ROWS * SEQ_LEN / min(taken_s)


def main() -> None:
    document = [BOS_ID, *range(4, DOCUMENT + 2), EOS_ID]
    tokens = np.resize(np.array(document, np.uint16), DOCUMENT * NUM_DOCUMENTS)
    offsets = np.arange(NUM_DOCUMENTS + 1) * DOCUMENT
    starts = np.concatenate(list(row_starts(offsets, SEQ_LEN)))
    split = TokenWindows(tokens, SEQ_LEN, ROWS, 0)
    whole = PackedDocuments(tokens, SEQ_LEN, ROWS, 0, starts=starts, num_documents=NUM_DOCUMENTS)
    for name, rows in {"split": split, "whole": whole}.items():
        print(f"{name}: {tokens_per_s(rows) / 1e6:.0f} million tokens/s")


if __name__ == "__main__":
    main()
