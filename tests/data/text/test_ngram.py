import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.text import ngram
from data.text.ngram import Ngram
from tests.data.samples import small_documents

ORDER = 5
TEXTS = [document.text.encode() for document in small_documents(30)]
START = None


def symbols(text: bytes | Sequence[int]) -> np.ndarray:
    return np.array(list(text), np.int64)


def count(texts: Sequence[bytes | Sequence[int]], order: int = ORDER, num: int = 256) -> Ngram:
    return Ngram.count([symbols(text) for text in texts], order, num)


def probabilities(model: Ngram, text: bytes | Sequence[int]) -> list[float]:
    return np.concatenate([[], *model.probabilities([symbols(text)])]).tolist()


def bits(model: Ngram, texts: Sequence[bytes]) -> float:
    return model.bits([symbols(text) for text in texts])


def reference(texts: Sequence[bytes | Sequence[int]], longest: int = ORDER, num: int = 256):
    """Interpolated modified Kneser-Ney from its definition: p(symbol | context), by recursion."""
    counts: list[Counter[tuple[int | None, ...]]] = [Counter() for _ in range(longest + 1)]
    for text in texts:
        padded = [START] * (longest - 1) + list(text)
        counts[longest].update(tuple(padded[i : i + longest]) for i in range(len(text)))
    for order in range(longest - 1, 0, -1):
        counts[order].update(longer[1:] for longer in counts[order + 1])

    following: dict[tuple[int | None, ...], dict[int | None, int]] = defaultdict(dict)
    for order in range(1, longest + 1):
        for seen, times in counts[order].items():
            following[seen[:-1]][seen[-1]] = times

    def discount(order: int, count: int) -> float:
        if count == 0:
            return 0.0
        k = min(count, 3)
        n = [sum(c == i for c in counts[order].values()) for i in range(5)]
        if 0 in n[1:]:
            return k / 2
        estimate = k - (k + 1) * n[1] / (n[1] + 2 * n[2]) * n[k + 1] / n[k]
        return estimate if estimate > 0 else k / 2

    def probability(symbol: int, context: tuple[int | None, ...]) -> float:
        lower = probability(symbol, context[1:]) if context else 1 / num
        if context not in following:
            return lower
        order, seen = len(context) + 1, following[context]
        count = seen.get(symbol, 0)
        freed = sum(discount(order, c) for c in seen.values())
        return (count - discount(order, count) + freed * lower) / sum(seen.values())

    return probability


# So many n-grams come three times that the estimated discount of those that come twice is negative.
THRICE = [b"a", *[b"b"] * 2, *[b"c", b"d", b"e", b"f"] * 3, *[b"g"] * 4]


@pytest.mark.parametrize("texts", [[b"abracadabra", b"abba", b""], TEXTS[:3], THRICE])
def test_probabilities_are_those_of_the_definition(texts):
    model, probability = count(texts), reference(texts)
    text = b"abra def zz"
    padded = [START] * (ORDER - 1) + list(text)
    expected = [probability(byte, tuple(padded[i : i + ORDER - 1])) for i, byte in enumerate(text)]
    np.testing.assert_allclose(probabilities(model, text), expected, rtol=1e-12)


@pytest.mark.parametrize(("order", "num"), [(1, 3), (2, 3), (3, 7), (4, 50_000), (9, 300)])
def test_any_order_and_any_number_of_symbols(order, num):
    """Orders and symbols whose n-grams are numbered by a table, by sorting, or by both."""
    rng = np.random.default_rng(order)
    texts = [(rng.zipf(1.5, 300) % num).tolist() for _ in range(4)]
    model, probability = count(texts[:3], order, num), reference(texts[:3], order, num)
    text = texts[3][:40]
    padded = [START] * (order - 1) + text
    expected = [probability(s, tuple(padded[i : i + order - 1])) for i, s in enumerate(text)]
    np.testing.assert_allclose(probabilities(model, text), expected, rtol=1e-11)
    assert model.order == order


def test_a_large_table_is_numbered_as_a_small_one(monkeypatch):
    whole = probabilities(count(TEXTS[:5]), TEXTS[6])
    monkeypatch.setattr(ngram, "_DENSE", 1000)
    assert probabilities(count(TEXTS[:5]), TEXTS[6]) == whole


@pytest.mark.parametrize("context", [b"", b"d", b"def x", b"\xff\xfe", b"import os\n", TEXTS[0]])
def test_all_next_symbols_at_once_have_the_same_probabilities(context):
    model = count(TEXTS[:5])
    at_once = model.next_probabilities(list(context))
    assert at_once.sum() == pytest.approx(1, abs=1e-12)
    for byte in (0, ord("e"), ord("\n"), 255):
        one = probabilities(model, context + bytes([byte]))[-1]
        assert at_once[byte] == pytest.approx(one, rel=1e-12)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4).filter(any), st.binary(max_size=6))
@settings(max_examples=25)
def test_probabilities_sum_to_one(texts, context):
    model = count(texts)
    last = [probabilities(model, context + bytes([byte]))[-1] for byte in range(256)]
    assert math.fsum(last) == pytest.approx(1, abs=1e-12)
    assert min(last) > 0


def test_one_document_leaves_a_probability_to_every_byte():
    """The estimated discounts of some counts of this document are negative."""
    text = TEXTS[5]
    model = count([text])
    last = [probabilities(model, text[:end] + bytes([255]))[-1] for end in range(len(text))]
    assert min(last) > 0
    assert np.isfinite(bits(model, [bytes(range(256)), text]))


def test_contexts_do_not_cross_documents():
    model = count(TEXTS)
    together = np.concatenate(list(model.probabilities(map(symbols, TEXTS[:4]))))
    apart = itertools.chain.from_iterable(probabilities(model, text) for text in TEXTS[:4])
    assert together.tolist() == list(apart)


def test_the_block_size_changes_nothing(monkeypatch):
    whole = bits(count(TEXTS), TEXTS[:4])
    monkeypatch.setattr(ngram, "_BLOCK", 7)
    assert bits(count(TEXTS), TEXTS[:4]) == pytest.approx(whole, rel=1e-12)


def test_bits_per_byte_is_small_on_known_text_and_large_on_noise():
    model = count(TEXTS)
    assert bits(model, TEXTS) < 1.5
    assert bits(model, [bytes(range(128, 256))]) > 8
