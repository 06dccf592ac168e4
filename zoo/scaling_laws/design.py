"""The worth of runs: the error of the law on a budget that it has not seen, and the run to add."""

import itertools
from dataclasses import dataclass

import numpy as np

from zoo.scaling_laws.law import FLOPS_PER_PARAM_AND_TOKEN, Law
from zoo.scaling_laws.parametric import MIN_POINTS, log_errors, refit_law
from zoo.scaling_laws.points import Points


@dataclass(frozen=True)
class HeldOut:
    """The errors of a budget's runs under the law of all other runs."""

    flops: float
    num_runs: int
    mean: float
    """Mean of log L of the runs minus the law's: above zero, the law is too hopeful."""
    rms: float
    """Root mean square of the same."""


def leave_one_budget_out(points: Points, law: Law) -> list[HeldOut]:
    """Return the errors of each budget, from the law refitted without it; the last extrapolates."""
    results = []
    for indices in points.budget_indices:
        others = np.setdiff1d(np.arange(len(points)), indices)
        if len(others) < MIN_POINTS:
            continue
        budget = points[indices]
        errors = log_errors(refit_law(points[others], law), budget)
        rms = float(np.sqrt((errors**2).mean()))
        results.append(HeldOut(budget.budget_flops, len(budget), float(errors.mean()), rms))
    return results


@dataclass(frozen=True)
class NextRun:
    """A run to add, and the standard deviation of the exponent a before and after it."""

    params: float
    tokens: float
    flops: float
    before: float
    after: float


def best_next_run(points: Points, law: Law, max_flops: float) -> NextRun | None:
    """Return the run of at most `max_flops` that shrinks the spread of the exponent a most.

    The law is linearised at its fit, with the noise of its errors: the covariance of the constants
    is s^2 (J'J)^-1, and one more run with the slopes j takes (g'S j)^2 / (s^2 + j'S j) from the
    variance g'S g of a = beta / (alpha + beta). The candidates reach from a hundredth of the budget
    to all of it and over the tokens per parameter of the runs that there are. None if these leave
    the constants undetermined.
    """
    slopes = _slopes(law, points.params, points.tokens, points)
    noise = float(np.sqrt((log_errors(law, points) ** 2).sum() / max(1, len(points) - 5)))
    information = slopes.T @ slopes
    if np.linalg.cond(information) > 1e12 or noise == 0:
        return None
    covariance = noise**2 * np.linalg.inv(information)
    total = law.alpha + law.beta
    gradient = np.array([0, 0, 0, -law.beta / total**2, law.alpha / total**2])
    before = float(gradient @ covariance @ gradient)
    budgets = max_flops * np.geomspace(0.01, 1, 9)
    ratios = np.geomspace(points.tokens_per_param.min(), points.tokens_per_param.max(), 25)
    flops, ratio = np.array(list(itertools.product(budgets, ratios))).T
    params = np.sqrt(flops / (FLOPS_PER_PARAM_AND_TOKEN * ratio))
    tokens = ratio * params
    candidates = _slopes(law, params, tokens, points)
    along = candidates @ covariance
    spread = noise**2 + (along * candidates).sum(1)
    after = before - (along @ gradient) ** 2 / spread
    i = int(after.argmin())
    return NextRun(
        float(params[i]), float(tokens[i]), float(flops[i]),
        float(np.sqrt(before)), float(np.sqrt(max(after[i], 0.0))),
    )  # fmt: skip


def _slopes(law: Law, params: np.ndarray, tokens: np.ndarray, origin: Points) -> np.ndarray:
    """[runs, 5] the derivatives of log L by log E, log A', log B', alpha and beta.

    A' and B' are those of N and D in units of the geometric means of the `origin`'s.
    """
    log_n = np.log(params) - np.log(origin.params).mean()
    log_d = np.log(tokens) - np.log(origin.tokens).mean()
    by_params, by_tokens = law.A * params**-law.alpha, law.B * tokens**-law.beta
    terms = [np.full_like(log_n, law.E), by_params, by_tokens]
    terms += [-log_n * by_params, -log_d * by_tokens]
    return np.stack(terms, 1) / law.loss(params, tokens)[:, None]
