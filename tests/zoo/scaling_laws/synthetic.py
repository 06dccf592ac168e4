"""Synthetic runs of a law with known constants."""

from collections.abc import Sequence

import numpy as np

from zoo.scaling_laws.law import Law
from zoo.scaling_laws.points import Points

TRUE = Law(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
BUDGETS = (1e18, 1e19, 1e20, 1e21)


def grid(
    law: Law = TRUE,
    budgets: Sequence[float] = BUDGETS,
    *,
    num_sizes: int = 7,
    width: float = 1.2,
    off_centre: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Points:
    """An isoFLOP grid from e^-width to e^width times the best size, moved by e^off_centre."""
    params, tokens = [], []
    for flops in budgets:
        sizes = law.optimum.params(flops) * np.exp(
            off_centre + np.linspace(-width, width, num_sizes)
        )
        params += list(sizes)
        tokens += list(flops / 6 / sizes)
    n, d = np.array(params), np.array(tokens)
    errors = np.random.default_rng(seed).standard_normal(len(n))
    return Points.of(params, tokens, law.loss(n, d) * np.exp(noise * errors))


def constants(law: Law) -> np.ndarray:
    return np.array([law.E, law.A, law.B, law.alpha, law.beta])


def law_of(theta: np.ndarray) -> Law:
    """The law of log E, log A, log B, alpha and beta."""
    e, a, b = np.exp(theta[:3])
    return Law(e, a, b, theta[3], theta[4])
