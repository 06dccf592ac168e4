import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad, least_squares

from models.config import ConfigError
from tests.zoo.scaling_laws.synthetic import BUDGETS, TRUE, constants, grid, law_of
from zoo.scaling_laws.approaches import Approaches, Estimate, estimate, resamples
from zoo.scaling_laws.isoflop import by_parabolas, envelope, fit_parabola, without_noise
from zoo.scaling_laws.law import Law
from zoo.scaling_laws.parametric import (
    HUBER_DELTA,
    _Objective,
    fit_law,
    leave_out_furthest,
    refit_law,
)
from zoo.scaling_laws.points import Points
from zoo.scaling_laws.projection import _Projection, project


@pytest.mark.parametrize("find", [fit_law, project])
@pytest.mark.parametrize("law", [TRUE, Law(1.69, 406, 411, 0.34, 0.28), Law(0.7, 30, 90, 0.2, 0.5)])
def test_constants_come_back_from_exact_losses(find, law):
    found = find(grid(law, (3e12, 1e13, 3e13, 1e14), off_centre=0.3))
    np.testing.assert_allclose(constants(found), constants(law), rtol=3e-3)


def test_gradients_are_those_of_finite_differences():
    points = grid(noise=0.003)
    objective, theta = _Objective.of(points), np.array([0.5, 0.1, 0.2, 0.4, 0.3])
    error = check_grad(lambda t: objective(t)[0], lambda t: objective(t)[1], theta)
    assert error < 1e-4 * np.linalg.norm(objective(theta)[1])
    projection, exponents = _Projection.of(points), np.array([0.5, 0.2])
    error = check_grad(lambda t: projection(t)[0], lambda t: projection(t)[1], exponents)
    assert error < 1e-4 * np.linalg.norm(projection(exponents)[1])


def test_the_minimum_is_that_of_another_solver():
    points = grid(noise=0.004, num_sizes=9)

    def errors(theta):
        law = law_of(theta)
        return np.log(law.loss(points.params, points.tokens)) - np.log(points.loss)

    start = [np.log(TRUE.E), np.log(TRUE.A), np.log(TRUE.B), TRUE.alpha, TRUE.beta]
    other = least_squares(
        errors, start, loss="huber", f_scale=HUBER_DELTA, x_scale="jac", xtol=1e-15, ftol=1e-15
    ).x
    found = fit_law(points)
    assert [found.alpha, found.beta] == pytest.approx(other[3:], rel=2e-3)
    assert found.E == pytest.approx(np.exp(other[0]), rel=2e-3)


def test_noise_moves_the_exponent_without_bias():
    """Over 16 seeds, the mean is within two of its own standard errors of the truth."""
    for find in (lambda points: refit_law(points, TRUE), lambda points: project(points, TRUE)):
        found = [find(grid(noise=0.003, seed=seed)).exponent for seed in range(16)]
        mean, error = np.mean(found), np.std(found) / np.sqrt(len(found))
        assert abs(mean - TRUE.exponent) < 2.5 * error
        assert np.std(found) < 0.02


def test_parabolas_off_centre_are_biased_and_projection_is_not():
    """Exact losses; the centre of the grid drifts by e^2 from the first budget to the last."""
    law = replace(TRUE, beta=0.6)
    drift = zip(BUDGETS, (-1.0, -0.33, 0.33, 1.0), strict=True)
    budgets = [grid(law, [flops], off_centre=shift, width=1.0) for flops, shift in drift]
    points = Points.of(
        *np.concatenate([[each.params, each.tokens, each.loss] for each in budgets], axis=1)
    )
    parabolas = by_parabolas([fit_parabola(budget) for budget in budgets])
    assert parabolas is not None
    assert parabolas.exponent - law.exponent > 0.03
    assert without_noise(points, law) == parabolas
    assert project(points).exponent == pytest.approx(law.exponent, abs=2e-4)
    centred = without_noise(grid(law, width=1.0), law)
    assert centred is not None
    assert centred.exponent == pytest.approx(law.exponent, abs=2e-3)


def test_a_parabola_without_a_minimum_inside_is_not_used():
    rising = grid(off_centre=3.0, width=0.5)
    assert not any(fit_parabola(budget).is_bracketed for budget in rising.budgets)
    assert by_parabolas([fit_parabola(budget) for budget in rising.budgets]) is None
    same = rising[np.array([0, 0, 0, 0])]
    assert not fit_parabola(same).is_bracketed


def test_budgets_are_told_apart_from_runs_between_them():
    points = grid()
    stray = Points.of(
        [*points.params, 1e9, 2e9], [*points.tokens, 1e10, 5e9], [*points.loss, 2.6, 2.5]
    )
    assert [len(budget) for budget in stray.budgets] == [7, 7, 7, 7]
    flops = [budget.budget_flops for budget in stray.budgets]
    assert flops == pytest.approx(BUDGETS)


def test_the_envelope_holds_the_best_run_of_each_budget():
    frontier = envelope(grid(num_sizes=7))
    assert frontier.flops == pytest.approx(BUDGETS)
    assert frontier.params == pytest.approx([TRUE.optimum.params(c) for c in BUDGETS])


def test_planted_outliers_are_left_out_one_by_one_and_no_others():
    points = grid(noise=0.003, num_sizes=9)
    loss = points.loss.copy()
    planted = {2: 1.10, 12: 0.92, 30: 1.05}
    for index, factor in planted.items():
        loss[index] *= factor
    damaged = replace(points, loss=loss)
    found = list(itertools.islice(leave_out_furthest(damaged, fit_law(damaged)), 4))
    assert {each.index for each in found[:3]} == set(planted)
    assert all(abs(each.deviations) > 6 for each in found[:3])
    assert abs(found[3].deviations) < 6
    clean = refit_law(points[np.setdiff1d(np.arange(36), list(planted))], TRUE)
    assert constants(found[2].law) == pytest.approx(constants(clean), rel=1e-3)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """80 % intervals over 16 seeds; fewer than 9 would happen once in 100 times."""
    hits = {"law (approach 3)": 0, "variable projection": 0}
    for seed in range(16):
        points = grid(noise=0.003, seed=seed)
        found = estimate_near(points)
        samples = Estimate(points, found, list(resamples(points, found, 24, seed)))
        for approach in hits:
            low, high = samples.exponent(approach) or (0.0, 0.0)
            hits[approach] += low <= TRUE.exponent <= high
    assert all(9 <= number <= 16 for number in hits.values()), hits


def estimate_near(points: Points) -> Approaches:
    """`estimate` without its grids of starts, which take longer than all else."""
    parabolas = [fit_parabola(budget) for budget in points.budgets]
    return Approaches(refit_law(points, TRUE), project(points, TRUE), parabolas, None)


def test_every_approach_agrees_on_exact_losses_of_a_centred_grid():
    found = estimate(grid(width=0.6))
    assert len(found.optima) == 4
    for optimum in found.optima.values():
        assert optimum.exponent == pytest.approx(TRUE.exponent, abs=0.003)


def test_too_few_runs_are_an_error():
    with pytest.raises(ConfigError, match="5 runs are too few for a law of five constants"):
        fit_law(grid()[np.arange(5)])
