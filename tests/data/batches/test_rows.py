import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches.batch import Batch
from data.batches.packing import row_starts
from data.batches.rows import PackedDocuments, Rows, TokenWindows
from data.batches.sizes import BatchSizes

PAD, EOS, BOS = 0, 1, 3


def stream(lengths: list[int], end: tuple[int, ...] = (EOS,)) -> np.ndarray:
    """Return documents of the given numbers of ids, all ids different."""
    tokens, next_id = [], 4
    for length in lengths:
        tokens += [BOS, *range(next_id, next_id + length), *end]
        next_id += length
    return np.array(tokens, np.uint16)


document_lengths = st.lists(st.integers(0, 30), min_size=1, max_size=12)
# Of documents that one mark separates, none is empty: the last one would have no target.
marked_lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12)
shape = {"seq_len": st.integers(1, 40), "sizes": st.integers(1, 9).map(BatchSizes.constant)}
shape |= {"seed": st.integers(0, 100)}
windows = st.builds(TokenWindows, tokens=document_lengths.map(stream), **shape)
unmasked = st.builds(
    TokenWindows,
    tokens=document_lengths.map(stream),
    bos_id=st.none(),
    eos_id=st.none(),
    **shape,
)
marked_windows = st.builds(
    TokenWindows, tokens=marked_lengths.map(lambda n: stream(n, ())), eos_id=st.just(BOS), **shape
)


def packed(lengths: list[int], seq_len: int, sizes: BatchSizes, seed: int) -> PackedDocuments:
    """Return rows of whole documents of the given numbers of ids."""
    offsets = np.cumsum([0, *(length + 2 for length in lengths)])
    return PackedDocuments(
        stream(lengths),
        seq_len,
        sizes,
        seed,
        starts=np.concatenate(list(row_starts(offsets, seq_len))),
        num_documents=len(lengths),
    )


def packed_with_one_mark(
    lengths: list[int], seq_len: int, sizes: BatchSizes, seed: int
) -> PackedDocuments:
    """Return rows of whole documents that BOS alone separates."""
    offsets = np.cumsum([0, *(length + 1 for length in lengths)])
    return PackedDocuments(
        stream(lengths, ()),
        seq_len,
        sizes,
        seed,
        eos_id=BOS,
        starts=np.concatenate(list(row_starts(offsets, seq_len, one_mark=True))),
        num_documents=len(lengths),
    )


packed_documents = st.builds(packed, document_lengths, **shape)
packed_marked = st.builds(packed_with_one_mark, marked_lengths, **shape)
either = st.one_of(windows, unmasked, marked_windows, packed_documents, packed_marked)


def all_targets(data: Rows) -> list[int]:
    """Return the targets of an epoch: all but the first token or, in whole documents, but BOS."""
    if isinstance(data, TokenWindows) or data.bos_id == data.eos_id:
        return data.tokens[1:].tolist()
    return [token for token in data.tokens.tolist() if token != BOS]


def real_targets(batch: Batch) -> list[int]:
    return batch["targets"][batch["segment_ids"] > 0].tolist()


def concatenate(batches: list[Batch]) -> Batch:
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def assert_equal(batch: Batch, other: Batch) -> None:
    assert batch.keys() == other.keys()
    for key, array in batch.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)


def test_a_batch_by_hand():
    data = TokenWindows(
        np.array([3, 5, 6, 1, 3, 7, 1, 3, 8, 9, 1], np.uint16), 4, BatchSizes.constant(1), 0
    )
    (batch,) = data.eval_batches(4)
    expected = {
        "inputs": [[3, 5, 6, 1], [3, 7, 1, 3], [8, 9, 0, 0], [0, 0, 0, 0]],
        "targets": [[5, 6, 1, 3], [7, 1, 3, 8], [9, 1, 0, 0], [0, 0, 0, 0]],
        "segment_ids": [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 0, 0], [0, 0, 0, 0]],
        "positions": [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        "weights": [[1, 1, 1, 0], [1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]],
    }
    assert_equal(batch, {key: np.array(rows) for key, rows in expected.items()})
    dtypes = {key: array.dtype for key, array in batch.items()}
    assert dtypes.pop("weights") == np.float32
    assert set(dtypes.values()) == {np.dtype(np.int32)}


@given(either)
def test_evaluation_targets_every_token_once_and_in_order(data):
    batches = list(data.eval_batches(data.sizes.largest))
    assert {batch["inputs"].shape for batch in batches} <= {(data.sizes.largest, data.seq_len)}
    assert [t for batch in batches for t in real_targets(batch)] == all_targets(data)
    assert data.num_predictions == len(all_targets(data))
    slots = len(data) * data.seq_len
    assert data.padding == pytest.approx(1 - data.num_predictions / slots)


@given(windows)
def test_windows_waste_less_than_one_row(data):
    assert len(data) == math.ceil(data.num_predictions / data.seq_len)


@given(either, st.integers(0, 5))
def test_every_training_epoch_targets_every_token_once(data, epoch):
    first, end = epoch * len(data), (epoch + 1) * len(data)
    steps = range(first // data.sizes.largest, -(-end // data.sizes.largest))
    batch = concatenate([data.train_batch(step) for step in steps])
    offset = steps.start * data.sizes.largest
    rows = {key: array[first - offset : end - offset] for key, array in batch.items()}
    assert sorted(real_targets(rows)) == sorted(all_targets(data))


@given(windows)
def test_segments_positions_and_weights_follow_from_the_tokens(data):
    for batch in data.eval_batches(data.sizes.largest):
        for row in range(data.sizes.largest):
            inputs, targets, segments, positions, weights = (
                batch[key][row].tolist()
                for key in ("inputs", "targets", "segment_ids", "positions", "weights")
            )
            segment, position = 1, 0
            for column, (token, target) in enumerate(zip(inputs, targets, strict=True)):
                if target == PAD:
                    padding = (token, segments[column], positions[column], weights[column])
                    assert padding == (PAD, 0, 0, 0)
                    continue
                if token == BOS and column:
                    segment, position = segment + 1, 0
                assert (segments[column], positions[column]) == (segment, position)
                assert weights[column] == (target != BOS)
                position += 1


@given(unmasked)
def test_an_unmasked_row_is_one_document_in_which_every_target_counts(data):
    for batch in data.eval_batches(data.sizes.largest):
        real = batch["segment_ids"] > 0
        assert (batch["segment_ids"] == real).all()
        assert (batch["weights"] == real).all()
        assert (batch["positions"] == np.arange(data.seq_len) * real).all()


@given(st.one_of(marked_windows, packed_marked))
def test_one_mark_ends_a_document_and_begins_the_next(data):
    for batch in data.eval_batches(data.sizes.largest):
        real = batch["segment_ids"] > 0
        assert (batch["weights"] == real).all()
        begins = (batch["inputs"] == BOS) & real
        assert (batch["positions"][begins] == 0).all()
        begins[:, 0] = real[:, 0]
        assert (batch["segment_ids"] == np.cumsum(begins, axis=1) * real).all()


@given(either, st.integers(0, 10**9), st.integers(1, 8))
def test_hosts_read_slices_of_the_same_batch(data, step, hosts):
    whole = data.train_batch(step)
    share = -(-data.sizes.largest // hosts)
    parts = [data.train_batch(step, slice(h * share, (h + 1) * share)) for h in range(hosts)]
    assert_equal(concatenate(parts), whole)
    strided = [data.train_batch(step, slice(h, None, hosts)) for h in range(hosts)]
    for host, part in enumerate(strided):
        assert_equal(part, {key: array[host::hosts] for key, array in whole.items()})


@given(either, st.integers(1, 8))
def test_hosts_evaluate_slices_of_the_same_batches(data, hosts):
    for host in range(hosts):
        rows = slice(host, None, hosts)
        for part, whole in zip(data.eval_batches(8, rows), data.eval_batches(8), strict=True):
            assert_equal(part, {key: array[rows] for key, array in whole.items()})


def test_a_batch_is_a_pure_function_of_seed_and_step():
    tokens = stream([100] * 50)
    steps = [7, 3, 10**12, 3, 7]
    forward = [
        TokenWindows(tokens, 16, BatchSizes.constant(4), seed=5).train_batch(step) for step in steps
    ]
    data = TokenWindows(tokens, 16, BatchSizes.constant(4), seed=5)
    for batch, step in zip(reversed(forward), reversed(steps), strict=True):
        assert_equal(data.train_batch(step), batch)
    other = TokenWindows(tokens, 16, BatchSizes.constant(4), seed=6).train_batch(7)
    assert not np.array_equal(other["inputs"], forward[0]["inputs"])


def rows_as_documents(data: Rows) -> list[list[list[int]]]:
    """Return the inputs of each row, by segment."""
    rows = []
    for batch in data.eval_batches(1):
        inputs, segments = batch["inputs"][0], batch["segment_ids"][0]
        rows.append([inputs[segments == i].tolist() for i in range(1, segments.max() + 1)])
    return rows


@pytest.mark.parametrize("make", [packed, packed_with_one_mark])
@given(lengths=marked_lengths, seq_len=st.integers(1, 40))
def test_whole_documents_are_cut_only_if_they_are_longer_than_a_row(make, lengths, seq_len):
    data = make(lengths, seq_len, 1, 0)
    begins = np.flatnonzero(data.tokens == BOS)
    documents = [part.tolist() for part in np.split(data.tokens, begins[1:])]
    # The last token of all is no input; nor is an EOS of its own.
    documents = [
        document[:-1] if document[-1] == EOS or number == len(documents) else document
        for number, document in enumerate(documents, start=1)
    ]
    expected = [
        document[start : start + seq_len]
        for document in documents
        for start in range(0, len(document), seq_len)
    ]
    rows = rows_as_documents(data)
    assert [part for row in rows for part in row] == expected
    # As many as fit: there was no room for the first part of the next row.
    for row, following in itertools.pairwise(rows):
        assert sum(map(len, row)) + len(following[0]) > seq_len


def test_a_packed_batch_by_hand():
    data = packed([1, 0, 5], seq_len=4, sizes=BatchSizes.constant(1), seed=0)
    (batch,) = data.eval_batches(4)
    expected = {
        "inputs": [[3, 4, 3, 0], [3, 5, 6, 7], [8, 9, 0, 0], [0, 0, 0, 0]],
        "targets": [[4, 1, 1, 0], [5, 6, 7, 8], [9, 1, 0, 0], [0, 0, 0, 0]],
        "segment_ids": [[1, 1, 2, 0], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]],
        "positions": [[0, 1, 0, 0], [0, 1, 2, 3], [0, 1, 0, 0], [0, 0, 0, 0]],
        "weights": [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]],
    }
    assert_equal(batch, {key: np.array(rows) for key, rows in expected.items()})
    assert {key: array.dtype for key, array in batch.items()} == {
        key: np.float32 if key == "weights" else np.int32 for key in expected
    }


@pytest.mark.parametrize(
    ("bos", "eos", "documents", "segments", "weights"),
    [
        (9, 9, [[9, 5], [9, 6, 0]], [1, 1, 2, 2], [1, 1, 1, 1]),
        (9, None, [[9, 5], [9, 6, 0]], [1, 1, 2, 2], [1, 0, 1, 1]),
        (None, 9, [[5, 9], [0, 6, 9]], [1, 1, 2, 2], [1, 0, 1, 1]),
        (None, None, [[5, 0], [6, 7]], [1, 1, 1], [1, 1, 1]),
    ],
)
def test_special_ids_may_be_equal_or_missing_and_id_0_may_be_text(
    bos, eos, documents, segments, weights
):
    tokens = np.array([token for document in documents for token in document])
    data = TokenWindows(tokens, 6, BatchSizes.constant(1), 0, bos_id=bos, eos_id=eos)
    (batch,) = data.eval_batches(1)
    length = len(tokens) - 1
    assert batch["segment_ids"][0].tolist() == segments + [0] * (6 - length)
    assert batch["weights"][0].tolist() == weights + [0] * (6 - length)
    assert batch["targets"][0, :length].tolist() == tokens[1:].tolist()


def test_counters_tell_epochs_and_tokens():
    data = TokenWindows(stream([98]), seq_len=10, sizes=BatchSizes.constant(2), seed=0)
    assert data.counters(0) == {"data/epochs": 0, "data/tokens": 0}
    assert data.counters(10) == {"data/epochs": 2, "data/tokens": 2 * 99}


def test_a_real_token_is_never_padding():
    """Id 0 is text in most vocabularies."""
    windows = TokenWindows(
        np.array([9, 0, 0, 9, 0, 4]), 4, BatchSizes.constant(2), 0, bos_id=9, eos_id=9
    )
    (batch,) = windows.eval_batches(2)
    assert batch["weights"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 2], [1, 0, 0, 0]]
    assert (batch["segment_ids"] > 0).tolist() == (batch["weights"] > 0).tolist()
