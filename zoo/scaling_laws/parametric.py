"""Chinchilla's approach 3: the law fitted to all runs at once, and the runs that do not fit it.

The objective is a Huber loss of the error in log L, minimised with L-BFGS from many starts
(arXiv 2203.15556, section 3.3 and D.2).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from models.config import check
from zoo.scaling_laws.law import Law
from zoo.scaling_laws.points import Points

HUBER_DELTA = 1e-3
"""Errors in log L beyond this count linearly."""
MIN_POINTS = 6
"""One more than the law has constants."""
_GRID = [
    np.arange(-1, 1.1, 0.5),  # log E
    np.arange(0, 26, 5),  # log A
    np.arange(0, 26, 5),  # log B
    np.arange(0, 2.1, 0.5),  # alpha
    np.arange(0, 2.1, 0.5),  # beta
]
_MOST_STARTS = 16
"""Starts of the grid's 4500 that are followed: those with the least sum of errors. On Chinchilla's
points 39 % of all starts end in the same lowest minimum, and the best 16 among them."""
_MIN_DEVIATION = 1e-9
"""Deviation of log L, at the least, by which a run's distance is measured: points without any noise
have no outliers."""


@dataclass(frozen=True)
class _Objective:
    """The sum of Huber losses over the points, of theta = (log E, log A', log B', alpha, beta).

    A' and B' are those of N and D in units of their geometric means, which makes the constants
    nearly independent: L-BFGS needs 45 iterations instead of hundreds.
    """

    log_n: np.ndarray
    log_d: np.ndarray
    log_loss: np.ndarray
    means: tuple[float, float]

    @classmethod
    def of(cls, points: Points) -> "_Objective":
        log_n, log_d = np.log(points.params), np.log(points.tokens)
        means = float(log_n.mean()), float(log_d.mean())
        return cls(log_n - means[0], log_d - means[1], np.log(points.loss), means)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective in units of HUBER_DELTA^2 and its gradient [5].

        Without the unit, the objective is so small that the tolerances of L-BFGS end it early, as
        they did for the published constants (arXiv 2404.10102).
        """
        log_e, log_a, log_b, alpha, beta = theta
        terms = np.empty((3, len(self.log_n)))  # log of each of the law's three terms
        terms[0], terms[1], terms[2] = log_e, log_a - alpha * self.log_n, log_b - beta * self.log_d
        largest = terms.max(0)
        shares = np.exp(terms - largest)
        total = shares.sum(0)
        shares /= total
        error = (largest + np.log(total) - self.log_loss) / HUBER_DELTA
        size = np.abs(error)
        huber = np.where(size <= 1, error**2 / 2, size - 0.5)
        slope = np.clip(error, -1, 1) / HUBER_DELTA
        # Sums instead of products: BLAS would start threads that wait longer than they work.
        by_term = shares * slope
        by_alpha, by_beta = by_term[1] * -self.log_n, by_term[2] * -self.log_d
        return float(huber.sum()), np.array([*by_term.sum(1), by_alpha.sum(), by_beta.sum()])

    def minimum(self, start: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the lowest value found from `start` and its theta."""
        options = {"maxiter": 1000, "maxfun": 3000, "ftol": 1e-13, "gtol": 1e-7}
        found = minimize(self, start, jac=True, method="L-BFGS-B", options=options)
        return float(found.fun), found.x

    def theta(self, law: Law) -> np.ndarray:
        """Return the law as a start [5]."""
        log_a = np.log(law.A) - law.alpha * self.means[0]
        log_b = np.log(law.B) - law.beta * self.means[1]
        return np.array([np.log(law.E), log_a, log_b, law.alpha, law.beta])

    def law(self, theta: np.ndarray) -> Law:
        """Return the law of theta [5]."""
        log_e, log_a, log_b, alpha, beta = map(float, theta)
        log_a, log_b = log_a + alpha * self.means[0], log_b + beta * self.means[1]
        e, a, b = map(float, np.exp([log_e, log_a, log_b]))
        return Law(e, a, b, alpha, beta)

    def best_starts(self) -> np.ndarray:
        """[starts, 5] the starts of the grid with the lowest objective."""
        starts = np.array(list(itertools.product(*_GRID)))
        starts[:, 1:3] -= starts[:, 3:] * self.means
        log_e, log_a, log_b, alpha, beta = starts.T[:, :, None]
        terms = np.logaddexp(log_a - alpha * self.log_n, log_b - beta * self.log_d)
        size = np.abs(np.logaddexp(log_e, terms) - self.log_loss)  # Huber's loss is its sum, nearly
        return starts[np.argsort(size.sum(1), kind="stable")[:_MOST_STARTS]]


def fit_law(points: Points) -> Law:
    """Return the law with the lowest objective. Raises ConfigError for too few points."""
    check(
        len(points) >= MIN_POINTS,
        f"{len(points)} runs are too few for a law of five constants; give at least {MIN_POINTS}",
    )
    objective = _Objective.of(points)
    ends = [objective.minimum(start) for start in objective.best_starts()]
    return objective.law(min(ends, key=lambda end: end[0])[1])


def refit_law(points: Points, start: Law) -> Law:
    """Return the minimum near `start`."""
    objective = _Objective.of(points)
    return objective.law(objective.minimum(objective.theta(start))[1])


def log_errors(law: Law, points: Points) -> np.ndarray:
    """[points] log L of the runs minus the law's."""
    return np.log(points.loss) - np.log(law.loss(points.params, points.tokens))


@dataclass(frozen=True)
class LeftOut:
    """A run that is left out, and the law of all others that are not left out before it."""

    index: int
    """Its place among the points."""
    deviations: float
    """Distance of its log L from the law that it still took part in, in robust deviations."""
    law: Law
    """The law without it."""


def leave_out_furthest(points: Points, law: Law) -> Iterator[LeftOut]:
    """Yield the run furthest from the law; then, after each new fit, the next one, without end.

    One at a time, because several runs that lie off together hide each other. The deviation is
    1.4826 times the median absolute error of the runs that are still in.
    """
    inside = np.ones(len(points), bool)
    while inside.sum() > MIN_POINTS:
        errors = log_errors(law, points)
        middle = np.median(errors[inside])
        deviation = 1.4826 * float(np.median(np.abs(errors[inside] - middle)))
        distances = (errors - middle) / max(deviation, _MIN_DEVIATION)
        furthest = int(np.argmax(np.where(inside, np.abs(distances), -1)))
        inside[furthest] = False
        law = refit_law(points[inside], law)
        yield LeftOut(furthest, float(distances[furthest]), law)
