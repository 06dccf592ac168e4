"""Differences between two runs that are put there on purpose, each found and named."""

import dataclasses
import math

import numpy as np
import pytest

from zoo.verification.comparison import (
    EXACT,
    Compared,
    Outcome,
    RunComparison,
    Tolerance,
    compare,
    relative_difference,
)

CLOSE = Tolerance(metrics=1e-5, gradients=1e-3, params=1e-4)
RUN = Outcome(
    starts=[0, 1],
    fingerprint={"corpus": "a", "seq_len": 64},
    rows={
        step: {
            "data/tokens": 128.0 * step,
            "train/loss": 5.0 / step,
            "train/loss_deviation": 0.5,
            "train/grad_norm": 1.0,
        }
        for step in (1, 2)
    },
    params={"b": np.ones(3, np.float32), "w": np.arange(6, dtype=np.float32).reshape(2, 3)},
)


def compared(tolerance: Tolerance = EXACT, **changes) -> RunComparison:
    found = dataclasses.replace(RUN, **changes)
    return compare(RUN, found, tolerance, num_steps=2, starts=[0, 1])


def rows(step: int, **changes: float) -> dict[int, dict[str, float]]:
    named = {name.replace("__", "/"): value for name, value in changes.items()}
    return RUN.rows | {step: RUN.rows[step] | named}


def first(comparison: RunComparison) -> str:
    assert comparison.first_beyond is not None
    return str(comparison.first_beyond)


def test_a_run_equals_itself():
    comparison = compared()
    assert comparison.first_beyond is None
    assert comparison.metrics == Compared(8, [])
    assert comparison.params == Compared(9, [])


def test_the_loss_is_named_first_and_by_its_first_step():
    off = np.nextafter(np.float64(2.5), 3.0)
    comparison = compared(rows=rows(2, train__loss=off, train__grad_norm=2.0))
    assert "at step 2, train/loss is 2.5 in the reference and 2.5000000000000004" in first(
        comparison
    )
    assert [difference.what for difference in comparison.metrics.differences] == [
        "train/loss",
        "train/grad_norm",
    ]


def test_a_tolerance_allows_what_is_below_it():
    assert compared(CLOSE, rows=rows(1, train__loss=5.0 * (1 + 0.9e-5))).first_beyond is None
    assert compared(CLOSE, rows=rows(1, train__grad_norm=1.0005)).first_beyond is None
    beyond = compared(CLOSE, rows=rows(1, train__grad_norm=1.0005, train__loss=5.0 * (1 + 1.1e-5)))
    assert beyond.metrics.largest == beyond.first_beyond
    assert "a relative difference of 1.1e-05 where 1e-05 is allowed" in first(beyond)


def test_counters_of_batches_have_no_tolerance_and_deviations_are_not_compared_with_one():
    assert "data/tokens" in first(compared(CLOSE, rows=rows(1, data__tokens=128.0001)))
    deviates = rows(1, train__loss_deviation=0.7)
    assert compared(CLOSE, rows=deviates).first_beyond is None
    assert "train/loss_deviation" in first(compared(EXACT, rows=deviates))


@pytest.mark.parametrize("tolerance", [EXACT, CLOSE])
def test_what_is_missing_or_no_number_is_beyond_any_tolerance(tolerance):
    assert "train/loss" in first(compared(tolerance, rows=rows(2, train__loss=math.nan)))
    without = {name: value for name, value in RUN.rows[2].items() if name != "train/loss"}
    assert "train/loss is 2.5 in the reference and None" in first(
        compared(tolerance, rows=RUN.rows | {2: without})
    )
    assert "at step 2, metrics.jsonl is a line in the reference and no line" in first(
        compared(tolerance, rows={1: RUN.rows[1]})
    )
    assert "corpus is a in the reference and b" in first(
        compared(tolerance, fingerprint={"corpus": "b", "seq_len": 64})
    )
    assert "parameter b is float32(3,) in the reference and missing" in first(
        compared(tolerance, params={"w": RUN.params["w"]})
    )
    infinite = RUN.params | {"b": np.array([1, np.inf, 1], np.float32)}
    assert "parameter b[1] is 1.0 in the reference and inf" in first(
        compared(tolerance, params=infinite)
    )


def test_one_bit_of_a_parameter_is_named_by_its_place():
    params = RUN.params | {"w": RUN.params["w"].copy()}
    params["w"][1, 2] = np.nextafter(np.float32(5), np.float32(6))
    assert "at step 2, parameter w[1, 2] is 5.0 in the reference" in first(compared(params=params))
    assert compared(CLOSE, params=params).first_beyond is None
    params["w"][0, 0] = 0.01
    assert "parameter w[0, 0] is 0.0" in first(compared(CLOSE, params=params))


def test_bits_tell_zeros_and_the_same_nan_apart():
    assert relative_difference(math.nan, math.nan) == 0
    assert 0 < relative_difference(0.0, -0.0) < 1e-300
    assert relative_difference(math.inf, 1.0) == math.inf
    assert relative_difference(2.0, 1.0) == 0.5
