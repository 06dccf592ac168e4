"""The law by variable projection: a search over the two exponents alone.

For given alpha and beta, the law is linear in E, A and B, whose best values above zero are exact
(non-negative least squares); what is left is a smooth function of two numbers (arXiv 2603.22339).
It is as simple as parabolas and, unlike them, exact on points without noise, wherever their grid is
centred. It minimises squared errors of the loss, so that runs far from the law weigh more than in
`parametric.py`.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls

from zoo.scaling_laws.law import Law
from zoo.scaling_laws.points import Points

_BOUNDS = (0.02, 2.5)
"""The range of both exponents."""
_GRID = np.arange(0.1, 1.6, 0.1)
"""Starts of each exponent."""


@dataclass(frozen=True)
class _Projection:
    """The squared error that is left once E, A and B are best, of (alpha, beta)."""

    log_n: np.ndarray
    log_d: np.ndarray
    loss: np.ndarray
    means: tuple[float, float]

    @classmethod
    def of(cls, points: Points) -> "_Projection":
        log_n, log_d = np.log(points.params), np.log(points.tokens)
        means = float(log_n.mean()), float(log_d.mean())
        return cls(log_n - means[0], log_d - means[1], points.loss, means)

    def linear(self, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return E, A, B [3], not below zero, and the terms that they multiply [points, 3]."""
        ones = np.ones_like(self.loss)
        terms = np.exp(-exponents * np.stack([self.log_n, self.log_d], 1))
        terms = np.concatenate([ones[:, None], terms], 1)
        return nnls(terms, self.loss)[0], terms

    def __call__(self, exponents: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean squared error relative to the spread of the loss, and its gradient [2].

        E, A and B are best, so that their own change with the exponents adds nothing to it.
        """
        constants, terms = self.linear(exponents)
        error = (terms * constants).sum(1) - self.loss
        scale = 1e-6 * len(error) * float(self.loss.var()) or 1.0
        logs = np.stack([self.log_n, self.log_d], 1)
        gradient = -2 * constants[1:] * (error[:, None] * logs * terms[:, 1:]).sum(0)
        return float((error**2).sum()) / scale, gradient / scale

    def law(self, exponents: np.ndarray) -> Law:
        """Return the law with these exponents [2]."""
        (e, a, b), _ = self.linear(exponents)
        alpha, beta = map(float, exponents)
        a, b = a * np.exp(alpha * self.means[0]), b * np.exp(beta * self.means[1])
        return Law(float(e), float(a), float(b), alpha, beta)


def project(points: Points, start: Law | None = None) -> Law:
    """Return the law with the least squared error.

    Args:
      start: a law near it; None: the best of a grid.
    """
    projection = _Projection.of(points)
    if start is None:
        grid = [np.array(pair) for pair in itertools.product(_GRID, _GRID)]
        first = min(grid, key=lambda exponents: projection(exponents)[0])
    else:
        first = np.clip([start.alpha, start.beta], *_BOUNDS)
    found = minimize(
        projection, first, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * 2,
        options={"ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    return projection.law(found.x)
