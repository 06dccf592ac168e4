import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.batches.permutation import _mix, epoch_order

seeds = st.integers(-(2**70), 2**70)


def epoch(number: int, size: int, seed: int) -> list[int]:
    index = np.arange(number * size, (number + 1) * size, dtype=np.uint64)
    return epoch_order(index, size, seed).tolist()


@given(st.integers(1, 1000), seeds, st.integers(0, 2**40))
def test_every_epoch_is_a_permutation(size, seed, number):
    assert sorted(epoch(number, size, seed)) == list(range(size))


@given(st.integers(1, 2**62), seeds, st.lists(st.integers(0, 2**63), max_size=20))
def test_a_draw_does_not_depend_on_the_others(size, seed, indices):
    together = epoch_order(np.array(indices, np.uint64), size, seed)
    apart = [epoch_order(np.array([i], np.uint64), size, seed)[0] for i in indices]
    assert together.tolist() == apart
    assert all(0 <= value < size for value in apart)


def test_the_argument_is_left_alone():
    index = np.arange(10, dtype=np.uint64)
    epoch_order(index, 3, 0)
    assert index.tolist() == list(range(10))


def test_every_epoch_and_seed_has_another_order():
    orders = [tuple(epoch(number, 100, seed)) for number in range(10) for seed in range(10)]
    assert len(set(orders)) == 100


def test_every_item_is_equally_often_everywhere():
    size, epochs = 7, 7000
    index = np.arange(epochs * size, dtype=np.uint64)
    orders = epoch_order(index, size, seed=0).reshape(epochs, size)
    counts = np.stack([np.bincount(column, minlength=size) for column in orders.T])
    expected = epochs / size
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 71.2  # 36 degrees of freedom: 99.96 % of random permutations


def test_the_order_is_the_same_in_every_version():
    assert epoch(0, 10, seed=0) == [5, 6, 0, 4, 2, 7, 8, 3, 1, 9]
    draws = epoch_order(np.array([0, 1, 10**12], np.uint64), 10**9 + 7, seed=1)
    assert draws.tolist() == [953901214, 8917082, 417642653]


def test_the_mixer_is_splitmix64():
    state = np.array([1234567], np.uint64)  # the seed of the published test vector
    assert _mix(state).tolist() == [6457827717110365317]
