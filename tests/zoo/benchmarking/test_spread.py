"""Medians, quartiles and ratios, against values by hand."""

import pytest

from zoo.benchmarking.spread import Figure, Spread


def test_quartiles_hold_the_middle_half():
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_a_ratio_is_taken_repeat_by_repeat():
    """The machine was twice as slow in the second repeat, for both sides."""
    ours = Figure("s", "lower", (1.0, 2.0, 1.0))
    theirs = Figure("s", "lower", (3.0, 6.0, 3.0))
    assert ours.times_better(theirs) == Spread(3.0, 3.0, 3.0)


@pytest.mark.parametrize(("better", "ratio"), [("lower", 0.5), ("higher", 2.0)])
def test_above_one_always_means_better(better, ratio: float):
    two, one = Figure("", better, (2.0,)), Figure("", better, (1.0,))
    assert two.times_better(one).median == ratio


@pytest.mark.parametrize(
    ("better", "low", "high", "is_worse"),
    [
        ("lower", 0.5, 0.9, True),
        ("lower", 0.5, 1.1, False),
        ("lower", 2.0, 3.0, False),
        ("higher", 3.1, 4.0, True),
        ("higher", 2.0, 4.0, False),
        ("higher", 0.5, 0.9, False),
    ],
)
def test_worse_is_beyond_the_spread(better, low: float, high: float, is_worse: bool):
    figure = Figure("", better, (1.0, 1.0, 2.0, 3.0, 3.0))
    assert (figure.spread.low, figure.spread.high) == (1.0, 3.0)
    figure = figure if better == "higher" else Figure("", better, (1.0, 1.0, 1.0))
    assert figure.is_worse_than(low, high) is is_worse
