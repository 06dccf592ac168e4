"""Windows that slide: every target once, in a long context, in its own document."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches.mixture import Mixture
from data.batches.rows import Rows, TokenWindows
from data.batches.sizes import BatchSizes
from data.batches.sliding import SlidingWindows
from tests.data.batches.test_rows import (
    BOS,
    EOS,
    assert_equal,
    concatenate,
    document_lengths,
    either,
    packed,
    stream,
    windows,
)


def counted(rows: Rows, stride: int, batch_size: int = 3) -> list[int]:
    """Return the targets of weight 1, in order."""
    batch = concatenate(list(SlidingWindows.over(rows, stride).eval_batches(batch_size)))
    return batch["targets"][batch["weights"] > 0].tolist()


def counted_in_rows(rows: Rows) -> list[int]:
    batch = concatenate(list(rows.eval_batches(3)))
    return batch["targets"][batch["weights"] > 0].tolist()


def test_windows_by_hand():
    rows = TokenWindows(stream([9]), seq_len=4, sizes=BatchSizes.constant(1), seed=0)
    batch = concatenate(list(SlidingWindows.over(rows, 3).eval_batches(2)))
    np.testing.assert_array_equal(
        batch["inputs"], [[BOS, 4, 5, 6], [6, 7, 8, 9], [9, 10, 11, 12], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        batch["targets"], [[4, 5, 6, 7], [7, 8, 9, 10], [10, 11, 12, EOS], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        batch["weights"], [[1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(batch["positions"][1], [0, 1, 2, 3])


@given(either, st.data())
def test_every_target_counts_once(rows: Rows, data):
    stride = data.draw(st.integers(1, rows.seq_len))
    assert sorted(counted(rows, stride)) == sorted(counted_in_rows(rows))


@given(windows, st.integers(1, 5))
def test_a_stride_of_the_row_length_gives_the_rows_themselves(rows: TokenWindows, batch_size: int):
    slid = SlidingWindows.over(rows, rows.seq_len)
    assert len(slid) == len(rows)
    for ours, theirs in zip(
        slid.eval_batches(batch_size), rows.eval_batches(batch_size), strict=True
    ):
        assert_equal(ours, theirs)


@given(either, st.data())
def test_each_target_has_the_context_that_the_stride_promises(rows: Rows, data):
    """All ids but marks differ: an id tells its place in its document, or in text without masks."""
    stride = data.draw(st.integers(1, rows.seq_len))
    tokens = rows.tokens.tolist()
    is_masked = rows.bos_id is not None or rows.eos_id is not None
    begins = [i for i, token in enumerate(tokens) if token == BOS] if is_masked else [0]
    for batch in SlidingWindows.over(rows, stride).eval_batches(4):
        for row, column in np.argwhere(batch["weights"] > 0):
            target = int(batch["targets"][row, column])
            if target in (BOS, EOS):
                continue
            place = tokens.index(target)
            in_document = place - max(b for b in begins if b <= place)
            seen = int(batch["positions"][row, column]) + 1
            assert min(in_document, rows.seq_len - stride + 1) <= seen <= in_document


@given(document_lengths, st.integers(1, 40), st.data())
def test_documents_that_fit_keep_their_rows(lengths: list[int], seq_len: int, data):
    rows = packed(lengths, seq_len, sizes=BatchSizes.constant(2), seed=0)
    if max(lengths) + 1 <= seq_len:
        stride = data.draw(st.integers(1, seq_len))
        for ours, theirs in zip(
            SlidingWindows.over(rows, stride).eval_batches(2), rows.eval_batches(2), strict=True
        ):
            assert_equal(ours, theirs)


def test_a_long_document_is_seen_alone():
    rows = packed([2, 9, 2], seq_len=6, sizes=BatchSizes.constant(2), seed=0)
    batch = concatenate(list(SlidingWindows.over(rows, 2).eval_batches(3)))
    real = batch["segment_ids"] > 0
    for ids, is_real in zip(batch["targets"], real, strict=True):
        documents = {1 + (i >= 6) + (i >= 15) for i in ids[is_real].tolist() if i not in (BOS, EOS)}
        assert len(documents) <= 1
    assert counted(rows, 2) == [4, 5, EOS, *range(6, 15), EOS, 15, 16, EOS]


@given(either, st.integers(1, 6), st.data())
def test_hosts_share_the_windows(rows: Rows, rows_of_a_host: int, data):
    slid = SlidingWindows.over(rows, data.draw(st.integers(1, rows.seq_len)))
    batch_size = 2 * rows_of_a_host
    halves = [
        list(slid.eval_batches(batch_size, part))
        for part in (slice(0, rows_of_a_host), slice(rows_of_a_host, batch_size))
    ]
    for whole, first, second in zip(slid.eval_batches(batch_size), *halves, strict=True):
        assert_equal(whole, concatenate([first, second]))


def test_the_sources_of_a_mixture_follow_each_other():
    one, two = (TokenWindows(stream(n), 4, BatchSizes.constant(2), 0) for n in ([9, 3], [7]))
    mixture = Mixture({"a": one, "b": two}, (Fraction(1, 3), Fraction(2, 3)))
    slid = SlidingWindows.over(mixture, 3)
    assert len(slid) == sum(len(SlidingWindows.over(rows, 3)) for rows in (one, two))
    batch = concatenate(list(slid.eval_batches(2)))
    found = batch["targets"][batch["weights"] > 0].tolist()
    assert found == counted(one, 3) + counted(two, 3)


def test_other_rows_have_no_windows():
    rows = TokenWindows(stream([9]), seq_len=4, sizes=BatchSizes.constant(1), seed=0)
    with pytest.raises(TypeError, match="SlidingWindows"):
        SlidingWindows.over(SlidingWindows.over(rows, 3), 2)
