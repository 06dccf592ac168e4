"""The fit of a law to finished runs, with intervals, runs that do not fit, and the next run."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from zoo.scaling_laws.approaches import Estimate, estimate, resamples
from zoo.scaling_laws.conventions import Convention, Counts, conventions
from zoo.scaling_laws.design import HeldOut, NextRun, best_next_run, leave_one_budget_out
from zoo.scaling_laws.isoflop import without_noise
from zoo.scaling_laws.law import Law, PowerLaw
from zoo.scaling_laws.parametric import LeftOut, fit_law, leave_out_furthest
from zoo.scaling_laws.points import Points

FAR = 6.0
"""Robust deviations from the law beyond which a run is left out of the second fit."""
LARGEST_SHARE = 0.25
"""Share of the runs that is left out at most: if more lie far off, the law is wrong, not they."""
MANY_EPOCHS = 4.0
"""Passes over the same text up to which repeated tokens are almost as good as new ones (Muennighoff
et al. 2023, arXiv 2305.16264)."""
STEEPEST = 2.0
"""Exponent of N or D beyond any that was ever found: the runs leave it open."""
CONSTANTS = ("E", "A", "B", "alpha", "beta", "exponent")


@dataclass(frozen=True)
class Question:
    """The settings of a fit."""

    leave_out: int | None = None
    """Runs to leave out of the second fit; None: all beyond FAR deviations."""
    num_resamples: int = 200
    flops: float | None = None
    """Budget to plan for; None: ten times that of the largest run."""
    corpus_tokens: float | None = None
    """Tokens of the training text; None: not known."""


@dataclass(frozen=True)
class Fit:
    """The fits to all runs and, if any is left out, to the others."""

    question: Question
    points: Points
    left_out: list[LeftOut]
    """The runs left out of the second fit, in the order in which they were found."""
    estimates: list[Estimate]
    """Estimates from all runs and, if some are left out, from the others."""
    conventions: list[Convention]
    """Empty if the sizes of the models are not known."""

    @property
    def best(self) -> Estimate:
        """The last estimate: the one without the runs that are left out."""
        return self.estimates[-1]

    @property
    def law(self) -> Law:
        """The law of the best estimate."""
        return self.best.found.law

    @property
    def flops(self) -> float:
        """The budget to plan for."""
        return self.question.flops or 10 * float(self.points.flops.max())

    @cached_property
    def held_out(self) -> list[HeldOut]:
        """The errors of each budget under the law of the others."""
        return leave_one_budget_out(self.best.points, self.law)

    @cached_property
    def next_runs(self) -> list[NextRun]:
        """The best runs to add within the largest run's FLOPs, and within three times as many."""
        largest = float(self.points.flops.max())
        found = [best_next_run(self.best.points, self.law, f * largest) for f in (1.0, 3.0)]
        return [run for run in found if run is not None]

    def parabolas_without_noise(self, estimate: Estimate) -> PowerLaw | None:
        """Return what parabolas find on this grid in exact losses of the estimate's law."""
        return without_noise(estimate.points, estimate.found.law)

    @cached_property
    def warnings(self) -> list[str]:
        """Reasons to doubt the fit."""
        return list(_warnings(self))

    def to_json(self) -> dict[str, Any]:
        """Return the fit as JSON values. Field names are stable; see docs/json.md."""
        return {
            "num_points": len(self.points),
            "flops": self.flops,
            "fits": [self._fit_to_json(estimate) for estimate in self.estimates],
            "left_out": [
                {**self._run(each), "deviations": each.deviations, "law": law_to_json(each.law)}
                for each in self.left_out
            ],
            "budgets": [
                {
                    "flops": each.flops,
                    "num_runs": len(each.points),
                    "params": each.params,
                    "loss": each.loss,
                    "bracketed": each.is_bracketed,
                }
                for each in self.best.found.parabolas
            ],
            "held_out": [asdict(each) for each in self.held_out],
            "next_runs": [asdict(each) for each in self.next_runs],
            "conventions": [asdict(each) for each in self.conventions],
            "warnings": self.warnings,
        }

    def _run(self, each: LeftOut) -> dict[str, float]:
        i, p = each.index, self.points
        return {
            "run": int(p.rows[i]),
            "params": float(p.params[i]),
            "tokens": float(p.tokens[i]),
            "loss": float(p.loss[i]),
        }

    def _fit_to_json(self, estimate: Estimate) -> dict[str, Any]:
        exact = self.parabolas_without_noise(estimate)
        return {
            "num_points": len(estimate.points),
            "law": law_to_json(estimate.found.law),
            "intervals": {name: estimate.constant(name) for name in CONSTANTS},
            "projected_law": law_to_json(estimate.found.projected),
            "approaches": {
                name: {
                    "exponent": optimum.exponent,
                    "exponent_interval": estimate.exponent(name),
                    "params": optimum.params(self.flops),
                    "params_interval": estimate.params(name, self.flops),
                    "tokens": optimum.tokens(self.flops),
                }
                for name, optimum in estimate.found.optima.items()
            },
            "parabolas_without_noise": None if exact is None else exact.exponent,
        }


def law_to_json(law: Law) -> dict[str, float]:
    """Return the constants of the law, and its exponent."""
    return {name: getattr(law, name) for name in CONSTANTS}


@threadpool_limits.wrap(limits=1, user_api="blas")  # of 5 x 5 matrices, threads only wait
def fit(points: Points, question: Question, counts: list[Counts] | None = None) -> Fit:
    """Fit the law to all runs, and to those that are not left out.

    Args:
      counts: those of each run's model; None: not known.

    Raises ConfigError for too few points.
    """
    law = fit_law(points)
    left_out = list(_left_out(points, law, question.leave_out))
    inside = np.ones(len(points), bool)
    inside[[each.index for each in left_out]] = False
    kept = [points] if inside.all() else [points, points[inside]]
    estimates = []
    for each in kept:
        found = estimate(each)
        estimates.append(
            Estimate(each, found, list(resamples(each, found, question.num_resamples)))
        )
    counted = list(itertools.compress(counts or (), inside))
    found = conventions(kept[-1], counted) if counted else []
    return Fit(question, points, left_out, estimates, found)


def _left_out(points: Points, law: Law, number: int | None) -> Iterator[LeftOut]:
    most = int(LARGEST_SHARE * len(points)) if number is None else number
    for each in itertools.islice(leave_out_furthest(points, law), most):
        if number is None and abs(each.deviations) < FAR:
            return
        yield each


def _warnings(fit: Fit) -> Iterator[str]:
    law = fit.law
    if max(law.alpha, law.beta) > STEEPEST or law.E < 1e-3 * float(fit.points.loss.min()):
        yield (
            f"the runs do not determine the law (E {law.E:.2g}, alpha {law.alpha:.2g}, beta "
            f"{law.beta:.2g}): train more sizes on both sides of the best one, and more budgets"
        )
    budgets = fit.best.found.parabolas
    if len(budgets) < 3:
        yield (
            f"{len(budgets)} compute budgets have at least five runs (within 10 % of 6ND); the "
            "parabolas need three to show whether their minima lie on a line"
        )
    for each in budgets:
        if not each.is_bracketed:
            yield (
                f"the budget of {each.flops:.2g} FLOPs has its lowest loss at an end of its sizes: "
                "its parabola is not used; train larger or smaller models there"
            )
    if len(fit.left_out) == int(LARGEST_SHARE * len(fit.points)) and fit.question.leave_out is None:
        yield "a quarter of the runs lie far from the law: doubt the law, not the runs"
    if fit.flops > 100 * fit.points.flops.max():
        factor = fit.flops / fit.points.flops.max()
        yield f"{fit.flops:.2g} FLOPs are {factor:,.0f} times the largest run: far out of the data"
    corpus = fit.question.corpus_tokens
    if corpus is not None and (epochs := fit.points.tokens / corpus).max() > 1:
        many = int((epochs > MANY_EPOCHS).sum())
        yield (
            f"{int((epochs > 1).sum())} runs read the text more than once, {many} more than "
            f"{MANY_EPOCHS:g} times and one {epochs.max():.1f} times: repeated tokens are worth "
            "less than new ones, which lowers beta and favours larger models"
        )
