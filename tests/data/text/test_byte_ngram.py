import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.text import byte_ngram
from data.text.byte_ngram import ORDER, ByteNgram
from tests.data.samples import small_documents

TEXTS = [document.text.encode() for document in small_documents(30)]
START = None


def probabilities(model: ByteNgram, text: bytes) -> list[float]:
    return np.concatenate(list(model.probabilities([text]))).tolist()


def reference(texts: list[bytes]):
    """Interpolated modified Kneser-Ney from its definition: p(byte | context), by recursion."""
    counts: list[Counter[tuple[int | None, ...]]] = [Counter() for _ in range(ORDER + 1)]
    for text in texts:
        padded = [START] * (ORDER - 1) + list(text)
        counts[ORDER].update(tuple(padded[i : i + ORDER]) for i in range(len(text)))
    for order in range(ORDER - 1, 0, -1):
        counts[order].update(ngram[1:] for ngram in counts[order + 1])

    following: dict[tuple[int | None, ...], dict[int | None, int]] = defaultdict(dict)
    for order in range(1, ORDER + 1):
        for ngram, count in counts[order].items():
            following[ngram[:-1]][ngram[-1]] = count

    def discount(order: int, count: int) -> float:
        if count == 0:
            return 0.0
        k = min(count, 3)
        n = [sum(c == i for c in counts[order].values()) for i in range(5)]
        if 0 in n[1:]:
            return k / 2
        estimate = k - (k + 1) * n[1] / (n[1] + 2 * n[2]) * n[k + 1] / n[k]
        return estimate if estimate > 0 else k / 2

    def probability(byte: int, context: tuple[int | None, ...]) -> float:
        lower = probability(byte, context[1:]) if context else 1 / 256
        if context not in following:
            return lower
        order, seen = len(context) + 1, following[context]
        count = seen.get(byte, 0)
        freed = sum(discount(order, c) for c in seen.values())
        return (count - discount(order, count) + freed * lower) / sum(seen.values())

    return probability


# So many n-grams come three times that the estimated discount of those that come twice is negative.
THRICE = [b"a", *[b"b"] * 2, *[b"c", b"d", b"e", b"f"] * 3, *[b"g"] * 4]


@pytest.mark.parametrize("texts", [[b"abracadabra", b"abba", b""], TEXTS[:3], THRICE])
def test_probabilities_are_those_of_the_definition(texts):
    model, probability = ByteNgram(texts), reference(texts)
    text = b"abra def zz"
    padded = [START] * (ORDER - 1) + list(text)
    expected = [probability(byte, tuple(padded[i : i + ORDER - 1])) for i, byte in enumerate(text)]
    np.testing.assert_allclose(probabilities(model, text), expected, rtol=1e-12)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4).filter(any), st.binary(max_size=6))
@settings(max_examples=25)
def test_probabilities_sum_to_one(texts, context):
    model = ByteNgram(texts)
    last = [probabilities(model, context + bytes([byte]))[-1] for byte in range(256)]
    assert math.fsum(last) == pytest.approx(1, abs=1e-12)
    assert min(last) > 0


def test_one_document_leaves_a_probability_to_every_byte():
    """The estimated discounts of some counts of this document are negative."""
    text = TEXTS[5]
    model = ByteNgram([text])
    last = [probabilities(model, text[:end] + bytes([255]))[-1] for end in range(len(text))]
    assert min(last) > 0
    assert np.isfinite(model.bits_per_byte([bytes(range(256)), text]))


def test_contexts_do_not_cross_documents():
    model = ByteNgram(TEXTS)
    together = np.concatenate(list(model.probabilities(TEXTS[:4])))
    apart = itertools.chain.from_iterable(probabilities(model, text) for text in TEXTS[:4])
    assert together.tolist() == list(apart)


def test_the_block_size_changes_nothing(monkeypatch):
    whole = ByteNgram(TEXTS).bits_per_byte(TEXTS[:4])
    monkeypatch.setattr(byte_ngram, "_BLOCK", 7)
    assert ByteNgram(TEXTS).bits_per_byte(TEXTS[:4]) == pytest.approx(whole, rel=1e-12)


def test_bits_per_byte_is_small_on_known_text_and_large_on_noise():
    model = ByteNgram(TEXTS)
    assert model.bits_per_byte(TEXTS) < 1.5
    assert model.bits_per_byte([bytes(range(128, 256))]) > 8
