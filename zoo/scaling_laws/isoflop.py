"""Chinchilla's approaches 1 and 2: the best model of each budget, and a power law through them.

Both need no formula for the loss (arXiv 2203.15556, sections 3.1 and 3.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from zoo.scaling_laws.law import Law, PowerLaw
from zoo.scaling_laws.points import SAME_BUDGET, Points


@dataclass(frozen=True)
class Parabola:
    """The loss of one budget over log N: `curvature` (log N - log params)^2 + `loss`."""

    points: Points
    curvature: float
    params: float
    """N at the lowest point."""
    loss: float

    @property
    def flops(self) -> float:
        """The budget."""
        return self.points.budget_flops

    @property
    def is_bracketed(self) -> bool:
        """True if it opens upwards and its lowest point lies within the sizes that were trained."""
        sizes = self.points.params
        return self.curvature > 0 and float(sizes.min()) <= self.params <= float(sizes.max())

    def at(self, params: np.ndarray) -> np.ndarray:
        """Return the loss of the parabola."""
        return self.curvature * np.log(params / self.params) ** 2 + self.loss


def fit_parabola(budget: Points) -> Parabola:
    """Return the parabola with the least squared error."""
    log_n = np.log(budget.params)
    middle = float(log_n.mean())
    powers = np.vander(log_n - middle, 3)
    (curvature, slope, level), _, rank, _ = np.linalg.lstsq(powers, budget.loss)
    if rank < 3 or curvature == 0:  # a straight line has no lowest point
        return Parabola(budget, 0.0, float(np.exp(middle)), float(level))
    # Clipped, because a nearly straight line has it out of the range of floats.
    lowest = float(np.clip(-slope / (2 * curvature), -50, 50))
    loss = float(level + slope * lowest + curvature * lowest**2)
    return Parabola(budget, float(curvature), float(np.exp(middle + lowest)), loss)


def by_parabolas(parabolas: Sequence[Parabola]) -> PowerLaw | None:
    """Return the power law through the lowest points (approach 2).

    Only bracketed parabolas count; None if fewer than two are.
    """
    used = [parabola for parabola in parabolas if parabola.is_bracketed]
    return _line([each.flops for each in used], [each.params for each in used])


def without_noise(points: Points, law: Law) -> PowerLaw | None:
    """Return what approach 2 finds on the same grid if each run's loss is exactly the law's.

    Its distance from the law's own optimum is the bias of the parabolas: they are symmetric and
    the law is not, so that it matters where the grid is centred (arXiv 2603.22339).
    """
    exact = replace(points, loss=law.loss(points.params, points.tokens))
    return by_parabolas([fit_parabola(budget) for budget in exact.budgets])


def envelope(points: Points) -> Points:
    """Return the runs that no run of as many FLOPs, or up to a tenth more, beats; by FLOPs.

    The tenth makes the runs of one budget equal, whose FLOPs differ by rounding.
    """
    ordered = points[np.argsort(points.flops, kind="stable")]
    affordable = ordered.flops <= (1 + SAME_BUDGET) * ordered.flops[:, None]
    best = np.where(affordable, ordered.loss, np.inf).min(1)
    return ordered[ordered.loss <= best]


def by_envelope(points: Points) -> PowerLaw | None:
    """Return the power law through the runs of the envelope (approach 1).

    The paper interpolates the training curves of its runs; here, each run is its end. None if the
    envelope has fewer than three runs.
    """
    frontier = envelope(points)
    if len(frontier) < 3:
        return None
    return _line(frontier.flops, frontier.params)


def _line(flops: Sequence[float] | np.ndarray, params: Sequence[float] | np.ndarray):
    if len(np.unique(flops)) < 2:
        return None
    exponent, log_scale = np.polyfit(np.log(flops), np.log(params), 1)
    return PowerLaw(float(log_scale), float(exponent))
