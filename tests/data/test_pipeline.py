import math
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.pipeline import Batch, TokenWindows

PAD, EOS, BOS = 0, 1, 3


def stream(lengths: list[int]) -> np.ndarray:
    """Documents of the given numbers of ids, every id another one."""
    tokens, next_id = [], 4
    for length in lengths:
        tokens += [BOS, *range(next_id, next_id + length), EOS]
        next_id += length
    return np.array(tokens, np.uint16)


streams = st.lists(st.integers(0, 30), min_size=1, max_size=12).map(stream)
windows = st.builds(
    TokenWindows,
    tokens=streams,
    seq_len=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 100),
)


def real_targets(batch: Batch) -> list[int]:
    return batch["targets"][batch["segment_ids"] > 0].tolist()


def concatenate(batches: list[Batch]) -> Batch:
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def assert_equal(batch: Batch, other: Batch) -> None:
    assert batch.keys() == other.keys()
    for key, array in batch.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)


def test_a_batch_by_hand():
    data = TokenWindows(np.array([3, 5, 6, 1, 3, 7, 1, 3, 8, 9, 1], np.uint16), 4, 1, 0)
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


@given(windows)
def test_evaluation_targets_every_token_once_and_in_order(data):
    assert len(data) == math.ceil((len(data.tokens) - 1) / data.seq_len)
    batches = list(data.eval_batches(data.batch_size))
    assert {batch["inputs"].shape for batch in batches} <= {(data.batch_size, data.seq_len)}
    assert [t for batch in batches for t in real_targets(batch)] == data.tokens[1:].tolist()


@given(windows, st.integers(0, 5))
def test_every_training_epoch_targets_every_token_once(data, epoch):
    first, end = epoch * len(data), (epoch + 1) * len(data)
    steps = range(first // data.batch_size, -(-end // data.batch_size))
    batch = concatenate([data.train_batch(step) for step in steps])
    offset = steps.start * data.batch_size
    rows = {key: array[first - offset : end - offset] for key, array in batch.items()}
    assert sorted(real_targets(rows)) == sorted(data.tokens[1:].tolist())


@given(windows)
def test_segments_positions_and_weights_follow_from_the_tokens(data):
    for batch in data.eval_batches(data.batch_size):
        for row in range(data.batch_size):
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


@given(windows, st.integers(0, 10**9), st.integers(1, 4))
def test_hosts_read_slices_of_the_same_batch(data, step, hosts):
    whole = data.train_batch(step)
    share = -(-data.batch_size // hosts)
    parts = [data.train_batch(step, slice(h * share, (h + 1) * share)) for h in range(hosts)]
    assert_equal(concatenate(parts), whole)
    strided = [data.train_batch(step, slice(h, None, hosts)) for h in range(hosts)]
    for host, part in enumerate(strided):
        assert_equal(part, {key: array[host::hosts] for key, array in whole.items()})


@given(windows, st.integers(1, 4))
def test_hosts_evaluate_slices_of_the_same_batches(data, hosts):
    for host in range(hosts):
        rows = slice(host, None, hosts)
        for part, whole in zip(data.eval_batches(8, rows), data.eval_batches(8), strict=True):
            assert_equal(part, {key: array[rows] for key, array in whole.items()})


def test_a_batch_is_a_pure_function_of_seed_and_step():
    tokens = stream([100] * 50)
    steps = [7, 3, 10**12, 3, 7]
    forward = [TokenWindows(tokens, 16, 4, seed=5).train_batch(step) for step in steps]
    data = TokenWindows(tokens, 16, 4, seed=5)
    for batch, step in zip(reversed(forward), reversed(steps), strict=True):
        assert_equal(data.train_batch(step), batch)
    other = TokenWindows(tokens, 16, 4, seed=6).train_batch(7)
    assert not np.array_equal(other["inputs"], forward[0]["inputs"])


def test_reading_is_fast():
    tokens = np.resize(stream([3000]), 1_000_000)
    data = TokenWindows(tokens, seq_len=1024, batch_size=64, seed=0)
    times_s = []
    for step in range(50):
        start_s = time.process_time()
        data.train_batch(step)
        times_s.append(time.process_time() - start_s)
    assert 64 * 1024 / min(times_s) > 20e6


# --- vocabularies with other marks ---------------------------------------------------------------


def test_one_mark_that_is_begin_and_end_is_learnt_and_parts_documents():
    """As GPT-2's: the mark ends the document before it, so it counts as a target."""
    windows = TokenWindows(np.array([9, 5, 6, 9, 7, 0, 9, 8]), 7, 1, 0, bos_id=9, eos_id=9)
    (batch,) = windows.eval_batches(1)
    assert batch["weights"].tolist() == [[1] * 7]
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 2, 2, 2, 3]]
    assert batch["positions"].tolist() == [[0, 1, 2, 0, 1, 2, 0]]


def test_without_a_begin_a_document_starts_after_the_end():
    windows = TokenWindows(np.array([5, 6, 2, 7, 0, 2, 8, 4]), 7, 1, 0, bos_id=None, eos_id=2)
    (batch,) = windows.eval_batches(1)
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 2, 2, 2, 3]]
    assert batch["weights"].tolist() == [[1] * 7]


def test_a_real_token_is_never_padding():
    """Id 0 is a piece of text in most vocabularies."""
    windows = TokenWindows(np.array([9, 0, 0, 9, 0, 4]), 4, 2, 0, bos_id=9, eos_id=9)
    (batch,) = windows.eval_batches(2)
    assert batch["weights"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert (batch["segment_ids"] > 0).tolist() == (batch["weights"] > 0).tolist()
