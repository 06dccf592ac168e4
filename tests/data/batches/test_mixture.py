from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches.mixture import Mixture, balanced_cycle
from data.batches.rows import TokenWindows
from data.batches.sizes import BatchSizes

weights = st.lists(st.integers(1, 60), min_size=1, max_size=6)


def shares_of(numbers) -> tuple[Fraction, ...]:
    return tuple(Fraction(number) / sum(map(Fraction, numbers)) for number in numbers)


def stream(document: int, length: int) -> np.ndarray:
    """Return one document, whose tokens between BOS and EOS tell its number."""
    return np.array([3, *[10 + document] * (length - 2), 1], np.uint16)


def mixture_of(numbers, batch_size: int = 4, seq_len: int = 8) -> Mixture:
    sources = {
        str(source): TokenWindows(
            stream(source, 50 + 13 * source), seq_len, BatchSizes.constant(batch_size), 5 + source
        )
        for source in range(len(numbers))
    }
    return Mixture(sources, shares_of(numbers))


@given(weights)
def test_every_prefix_has_each_sources_share_to_within_one(numbers):
    shares = shares_of(numbers)
    order = balanced_cycle(shares)
    counts = np.cumsum(order[:, None] == np.arange(len(shares)), axis=0)
    expected = np.arange(1, len(order) + 1)[:, None] * np.array(shares, float)
    assert np.abs(counts - expected).max() < 1
    assert counts[-1].tolist() == [int(share * len(order)) for share in shares]


def test_odd_shares_are_rounded_and_no_source_is_dropped():
    order = balanced_cycle(shares_of(["0.123456789", "0.7", "0.00000001"]))
    counts = np.bincount(order)
    assert counts.tolist() == [round(10_000 * 0.123456789 / 0.823456799), 8501, 1]


def source_of(batch) -> list[int]:
    return [int(row.max()) - 10 for row in batch["inputs"]]


@given(weights, st.integers(1, 9), st.integers(0, 10**9))
def test_rows_come_from_the_source_that_the_cycle_names(numbers, batch_size, step):
    mixture = mixture_of(numbers, batch_size)
    order = balanced_cycle(mixture.shares)
    draws = np.arange(step * batch_size, (step + 1) * batch_size) % len(order)
    assert source_of(mixture.train_batch(step)) == order[draws].tolist()


@given(weights, st.integers(1, 8), st.integers(0, 10**6))
def test_hosts_read_slices_of_the_same_batch(numbers, hosts, step):
    mixture = mixture_of(numbers, batch_size=8)
    whole = mixture.train_batch(step)
    for host in range(hosts):
        rows = slice(host, None, hosts)
        for key, part in mixture.train_batch(step, rows).items():
            np.testing.assert_array_equal(part, whole[key][rows])


def test_every_source_has_its_own_epochs():
    mixture = mixture_of([2, 1])
    for source, rows in enumerate(mixture.sources.values()):
        targets: list[int] = []
        step = 0
        while len(targets) < 3 * rows.num_predictions:
            batch = mixture.train_batch(step)
            of_source = np.array(source_of(batch)) == source
            real = batch["segment_ids"][of_source] > 0
            targets += batch["targets"][of_source][real].tolist()
            step += 1
        assert targets.count(1) in (3, 4)  # EOS: once an epoch


def test_counters_tell_epochs_and_tokens_of_each_source():
    mixture = mixture_of([3, 1])
    small, large = mixture.sources.values()
    counters = mixture.counters(step=10)
    assert counters["data/epochs/0"] == 30 / len(small)
    assert counters["data/epochs/1"] == 10 / len(large)
    assert counters["data/tokens/0"] == pytest.approx(30 * 8, abs=8 * 5)
    assert counters["data/tokens"] == counters["data/tokens/0"] + counters["data/tokens/1"]


def test_evaluation_reads_all_of_every_source():
    mixture = mixture_of([1, 5])
    seen = np.concatenate(
        [batch["targets"][batch["segment_ids"] > 0] for batch in mixture.eval_batches(3)]
    )
    expected = [token for rows in mixture.sources.values() for token in rows.tokens[1:]]
    assert seen.tolist() == expected
