"""The parts of an n-gram model that are not its counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from data.text.ngram import Ngram
from data.vocabularies import styles
from zoo.inference.decode import Sampling, kept_logits
from zoo.ngram.model import BYTES, documents, kept


@pytest.mark.parametrize(
    ("bos", "eos", "tokens", "expected"),
    [
        (1, 2, [1, 7, 8, 2, 1, 9, 2], [[7, 8, 2], [9, 2]]),
        (2, 2, [2, 7, 8, 2, 9, 2, 5], [[7, 8, 2], [9, 2], [5]]),
        (None, 2, [7, 8, 2, 9, 2], [[7, 8, 2], [9, 2]]),
        (1, None, [1, 7, 8, 1, 9], [[7, 8], [9]]),
        (None, None, [7, 8, 9], [[7, 8, 9]]),
        (1, 2, [], []),
    ],
)
def test_documents_keep_the_mark_that_is_predicted(bos, eos, tokens, expected):
    found = documents(np.array(tokens, int), bos, eos)
    assert [part.tolist() for part in found] == expected


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(),
        Sampling(temperature=0.7, top_k=5),
        Sampling(temperature=1.3, top_p=0.6),
        Sampling(temperature=0.9, top_k=9, top_p=0.9),
    ],
)
def test_tokens_are_drawn_from_the_distribution_of_the_other_models(sampling):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(20, 0.5))
    p[3] = 0
    p /= p.sum()
    logits = jnp.log(jnp.asarray(p, jnp.float32))
    expected = np.exp(np.asarray(kept_logits(logits, sampling), np.float64))
    np.testing.assert_allclose(kept(p, sampling), expected / expected.sum(), atol=1e-6)


def test_a_vocabulary_of_bytes_has_one_token_per_byte():
    vocabulary = styles.train([], BYTES, "gpt2")
    text = "naïve\n\x00 日本"
    assert vocabulary.size == BYTES
    assert len(vocabulary.encode(text)) == len(text.encode())
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_the_order_may_exceed_the_text():
    model = Ngram.count([np.array([0, 1])], 6, 3)
    assert model.next_probabilities([0]).argmax() == 1
