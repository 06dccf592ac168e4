"""The measure of a spike against NumPy, and the step that leaves out its update."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.experiment import Divergence
from tests.models import experiments
from tests.models.experiments import PALM
from zoo.training.divergence import Recent
from zoo.training.schedule import make_schedule
from zoo.training.step import MUST_BE_FINITE, TrainState, make_steps

WINDOW = 8
SKIP = dataclasses.replace(PALM, divergence=Divergence(action="skip", window=WINDOW))


def filled(rows: list[tuple[float, float]], window: int = WINDOW) -> Recent:
    recent = Recent.start(window)
    for row in rows:
        recent = recent.after(jnp.asarray(row), jnp.asarray(False))
    return recent


def test_deviations_are_robust_standard_deviations_above_the_median():
    rng = np.random.default_rng(0)
    rows = rng.normal([5.0, 0.3], [0.5, 0.05], (12, 2)).astype(np.float32)
    newest = rows[-WINDOW:]
    measured = np.array([9.0, 0.2], np.float32)
    centre = np.median(newest, axis=0)
    unit = 1.4826 * np.median(np.abs(newest - centre), axis=0)
    found = filled(list(map(tuple, rows))).deviations(jnp.asarray(measured))
    np.testing.assert_allclose(found, (measured - centre) / unit, rtol=1e-4)


def test_a_spike_in_the_window_hides_no_second_one():
    quiet = [(5 + 0.1 * (i % 3), 1 + 0.01 * (i % 3)) for i in range(WINDOW)]
    with_spike = [*quiet[:-1], (500.0, 100.0)]
    assert (filled(with_spike).deviations(jnp.asarray([20.0, 3.0])) > 6).all()


def test_without_half_a_window_nothing_is_a_spike():
    few = [(5.0 + i, 1.0) for i in range(WINDOW // 2)]
    assert (filled(few[:-1]).deviations(jnp.asarray([1e6, 1e6])) == 0).all()
    assert (filled(few).deviations(jnp.asarray([1e6, 1e6])) > 6).all()


def test_a_flat_curve_has_no_spikes_below_the_smallest_unit():
    flat = filled([(5.0, 1.0)] * WINDOW)
    np.testing.assert_allclose(flat.deviations(jnp.asarray([5.2, 1.0])), [4.0, 0.0], rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_out_of_the_window(value: float):
    before = filled([(5.0, 1.0)] * 3)
    after = before.after(jnp.asarray([5.0, value]), jnp.asarray(True))
    np.testing.assert_array_equal(after.values, before.values)
    assert int(after.num_skipped) == 1


@pytest.mark.parametrize("window", [4, WINDOW, 20])
def test_json_keeps_the_newest_values_exactly(window: int):
    rng = np.random.default_rng(0)
    rows = [tuple(row) for row in rng.normal(size=(6, 2)).astype(np.float32)]
    restored = Recent.from_json(
        filled(rows).to_json(), jax.eval_shape(lambda: Recent.start(window))
    )
    np.testing.assert_array_equal(restored.values, filled(rows, window).values)
    assert restored.num_skipped.dtype == jnp.int32
    nothing = Recent.from_json({}, jax.eval_shape(lambda: Recent.start(window)))
    np.testing.assert_array_equal(nothing.values, Recent.start(window).values)


@functools.cache
def compiled():
    steps = make_steps(SKIP)
    return jax.jit(steps.init), jax.jit(steps.train_step)


def train(batches: list[dict[str, np.ndarray]]) -> tuple[TrainState, list[dict[str, float]]]:
    init, train_step = compiled()
    state, metrics = init(), []
    for batch in batches:
        state, values = train_step(state, batch)
        metrics.append({name: float(value) for name, value in values.items()})
    return state, metrics


GOOD = experiments.packed_batch(PALM)
NOT_FINITE = GOOD | {"weights": np.full_like(GOOD["weights"], np.nan)}
SHUFFLED = GOOD | {"targets": np.random.default_rng(0).permuted(GOOD["targets"])}
"""After some steps on GOOD, the loss of these targets is a spike."""


@pytest.mark.parametrize("bad", [NOT_FINITE, SHUFFLED], ids=["not finite", "spike"])
def test_skip_leaves_the_run_as_one_without_that_batch(bad: dict[str, np.ndarray]):
    state, metrics = train([GOOD] * 60 + [bad] + [GOOD] * 3)
    without, expected = train([GOOD] * 63)
    assert [values["train/skipped"] for values in metrics] == [0.0] * 60 + [1.0] + [0.0] * 3
    assert (int(state.step), int(state.recent.num_skipped)) == (64, 1)
    for ours, theirs in zip(
        jax.tree.leaves((state.params, state.opt_state)),
        jax.tree.leaves((without.params, without.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    rates = [values["train/lr"] for values in metrics]
    schedule = make_schedule(PALM)
    assert rates[-1] == pytest.approx(float(schedule(62))) == expected[-1]["train/lr"]


def test_the_metrics_tell_whether_a_step_is_finite():
    _, (good, bad) = train([GOOD, NOT_FINITE])
    assert all(np.isfinite(good[name]) for name in MUST_BE_FINITE)
    assert not any(np.isfinite(bad[name]) for name in MUST_BE_FINITE)
