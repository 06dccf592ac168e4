"""The sizes of batches that grow."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches.sizes import BatchSizes, Phase


@st.composite
def sizes(draw) -> BatchSizes:
    steps = draw(st.lists(st.integers(1, 20), max_size=5))
    starts = [0, *itertools.accumulate(steps)]
    return BatchSizes(tuple(Phase(start, draw(st.integers(1, 50))) for start in starts))


@given(sizes(), st.integers(0, 200))
def test_the_rows_before_a_step_are_those_of_all_batches_before_it(sizes, step):
    assert sizes.before(step) == sum(sizes.size(earlier) for earlier in range(step))
    assert sizes.smallest <= sizes.size(step) <= sizes.largest


@given(sizes(), st.integers(0, 200))
def test_as_many_steps_as_hold_the_rows(sizes, step):
    assert sizes.steps(sizes.before(step)) == step
    nearest = sizes.steps(sizes.before(step) + 0.4 * sizes.size(step))
    assert nearest == step


@pytest.mark.parametrize("starts", [(), (1,), (0, 3, 3), (0, 5, 2)])
def test_phases_begin_at_zero_and_follow_each_other(starts):
    with pytest.raises(ValueError, match="phases begin at"):
        BatchSizes(tuple(Phase(start, 1) for start in starts))
