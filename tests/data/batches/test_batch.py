"""The function of a model on packed rows: what each way of packing lets a token see."""

import jax.numpy as jnp
import numpy as np
import pytest

from data.batches.batch import Batch, border_ids
from data.batches.packing import row_starts
from data.batches.rows import PackedDocuments, TokenWindows
from data.batches.sizes import BatchSizes
from data.config import Packing
from models.positions import Positions
from tests.models import samples

LENGTHS = [5, 8, 3, 11]
"""Tokens of the documents, BOS and EOS included; together they fill one row."""
SEQ_LEN = sum(LENGTHS) - 1
FAMILIES = ["gpt1", "gpt2", "gpt3", "gopher", "palm", "llama"]


def one_row(packing: Packing, vocabulary, *, first_token: int = 7) -> Batch:
    """Return a row of four documents of random ids; the first begins with `first_token`."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(8, 50, length - 2) for length in LENGTHS]
    texts[0][0] = first_token
    tokens = np.concatenate([[vocabulary.bos_id, *text, vocabulary.eos_id] for text in texts])
    if packing == "whole":
        starts = np.concatenate(list(row_starts(np.cumsum([0, *LENGTHS]), SEQ_LEN)))
        data = PackedDocuments(
            tokens, SEQ_LEN, BatchSizes.constant(1), 0, starts=starts, num_documents=len(LENGTHS)
        )
    else:
        data = TokenWindows(
            tokens, SEQ_LEN, BatchSizes.constant(1), 0, **border_ids(packing, vocabulary)
        )
    (batch,) = data.eval_batches(1)
    return batch


def logits(model, batch: Batch) -> np.ndarray:
    """Return the logits [T, V] of a batch of one row."""
    positions = Positions(jnp.asarray(batch["positions"]), jnp.asarray(batch["segment_ids"]))
    return np.asarray(samples.logits(model, batch["inputs"], positions)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unmasked_row_is_the_papers_function_of_the_whole_row(vocabulary, family):
    model = samples.random_model(samples.MODELS[family])
    batch = one_row("unmasked", vocabulary)
    ours = logits(model, batch)
    theirs = samples.reference_logits(family, model, batch["inputs"][0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    masked = logits(model, one_row("split", vocabulary))
    np.testing.assert_allclose(masked[: LENGTHS[0]], theirs[: LENGTHS[0]], rtol=1e-4, atol=1e-4)
    assert np.abs(masked - theirs).max() > 0.1


@pytest.mark.parametrize("packing", ["unmasked", "split", "whole"])
def test_only_unmasked_does_an_earlier_document_change_a_later_one(vocabulary, packing):
    model = samples.random_model(samples.PALM)
    one, other = (one_row(packing, vocabulary, first_token=token) for token in (7, 9))
    change = np.abs(logits(model, one) - logits(model, other)).max(axis=-1)
    own = one["segment_ids"][0] == 1 if packing != "unmasked" else np.arange(SEQ_LEN) < LENGTHS[0]
    assert change[1 : LENGTHS[0] - 1].min() > 0
    assert (change[~own].max() > 1e-3) == (packing == "unmasked")
    if packing != "unmasked":
        assert change[~own].max() == 0


@pytest.mark.parametrize(
    ("packing", "num_segments", "weighted", "last_position"),
    [
        ("unmasked", 1, SEQ_LEN, SEQ_LEN - 1),
        ("split", 4, SEQ_LEN - 3, LENGTHS[-1] - 2),
        ("whole", 4, SEQ_LEN - 3, LENGTHS[-1] - 2),
    ],
)
def test_documents_of_a_row(vocabulary, packing, num_segments, weighted, last_position):
    batch = one_row(packing, vocabulary)
    assert batch["segment_ids"].max() == num_segments
    assert batch["weights"].sum() == weighted
    assert batch["positions"][0, np.flatnonzero(batch["segment_ids"][0])[-1]] == last_position
