"""The published laws for the best model of a compute budget, with their sources.

Chinchilla (Hoffmann et al. 2022, arXiv 2203.15556) contradicts itself in places. Section 3.4's text
(4.41e24 FLOPs and 4.2T tokens for 175B) disagrees with its own tables, which are taken. Table A3
prints 1.26e24 FLOPs for approach 3 at 175B, a misprint for 1.26e25: its own 6ND. The constants of
approach 3 are printed rounded (alpha 0.34, beta 0.28), which gives 32B instead of the paper's 40B
at Gopher's budget; the unrounded ones of its TeX source give 40.4B.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from zoo.scaling_laws.law import FLOPS_PER_PARAM_AND_TOKEN, Law, PowerLaw

GOPHER_FLOPS = 5.76e23
"""Chinchilla's budget, which its paper calls Gopher's."""
PF_DAY = 1e15 * 24 * 3600
"""FLOPs of a petaflop/s-day."""

CHINCHILLA = Law(1.6934, 406.40, 410.72, 0.33917, 0.28491)
"""The unrounded constants of the paper's TeX source (approach 3)."""
EPOCH = Law(1.81686, 482.006, 2085.434, 0.34781, 0.36585)
"""Epoch AI's refit to 240 runs read off Chinchilla's figure 4 (Besiroglu et al. 2024, arXiv
2404.10102, data_analysis.ipynb)."""

# fmt: off
_PARAMS = (0.4e9, 1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12, 10e12)
_FLOPS_1 = (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28)
_FLOPS_2 = (1.84e19, 1.20e20, 1.32e22, 6.88e23, 4.54e24, 1.18e25, 4.19e25, 1.59e26, 1.75e28)
# fmt: on
_MIDDLE_FLOPS = math.sqrt(6e18 * 3e21)
"""The middle of Chinchilla's nine budgets, about which its lines turn with their exponents."""


class Spread(Protocol):
    """The uncertainty of a published law."""

    def interval(self, optimum: PowerLaw, flops: float) -> tuple[float, float] | None:
        """Return the 10th and the 90th percentile of N_opt at C `flops`; None: not known."""
        ...


@dataclass(frozen=True)
class NotPublished:
    """No uncertainty is published."""

    def interval(self, optimum: PowerLaw, flops: float) -> None:
        """Return None."""


@dataclass(frozen=True)
class Exponents:
    """The 10th and the 90th percentile of the exponent alone (Chinchilla's Table 2).

    The line is taken to turn about the middle of the budgets that were trained, where it is best
    known; the paper gives no uncertainty there.
    """

    low: float
    high: float

    def interval(self, optimum: PowerLaw, flops: float) -> tuple[float, float]:
        """Return N_opt with each of the two exponents."""
        middle, params = math.log(flops / _MIDDLE_FLOPS), optimum.params(flops)
        ends = [params * math.exp((a - optimum.exponent) * middle) for a in (self.low, self.high)]
        return min(ends), max(ends)


@dataclass(frozen=True)
class Bootstrap:
    """The spread of log N_opt over bootstrap samples, least at one budget."""

    flops: float
    """The budget at which N_opt is known best; there, it and the exponent are uncorrelated."""
    deviation: float
    """Standard deviation of log N_opt there."""
    exponent_deviation: float

    def interval(self, optimum: PowerLaw, flops: float) -> tuple[float, float]:
        """Return the percentiles of a normal log N_opt."""
        away = self.exponent_deviation * math.log(flops / self.flops)
        width = statistics.NormalDist().inv_cdf(0.9) * math.hypot(self.deviation, away)
        params = optimum.params(flops)
        return params * math.exp(-width), params * math.exp(width)


@dataclass(frozen=True)
class Published:
    """One published way to split a budget."""

    name: str
    optimum: PowerLaw
    spread: Spread
    source: str


def through_table(flops: Sequence[float], params: Sequence[float]) -> PowerLaw:
    """Return the line through the printed rows, on log axes."""
    logs = [math.log(c) for c in flops], [math.log(n) for n in params]
    exponent, log_scale = statistics.linear_regression(*logs)
    return PowerLaw(log_scale, exponent)


KAPLAN = PowerLaw(math.log(1.3e9) - 0.73 * math.log(PF_DAY), 0.73)
"""N_opt = 1.3e9 C^0.73 with C in petaflop/s-days; N and C leave embeddings out."""

PUBLISHED = (
    Published(
        "Chinchilla, approach 1",
        through_table(_FLOPS_1, _PARAMS),
        Exponents(0.488, 0.502),
        "line through Table 3's rows; interval of the exponent: Table 2",
    ),
    Published(
        "Chinchilla, approach 2",
        through_table(_FLOPS_2, _PARAMS),
        Exponents(0.462, 0.534),
        "line through Table A3's rows; interval of the exponent: Table 2",
    ),
    Published(
        "Chinchilla, approach 3",
        CHINCHILLA.optimum,
        Exponents(0.454, 0.455),
        "unrounded constants of the TeX source; interval: Table 2, far too narrow (Epoch)",
    ),
    Published(
        "Epoch's refit",
        EPOCH.optimum,
        Bootstrap(flops=1.59e19, deviation=0.0221, exponent_deviation=0.0189),
        "arXiv 2404.10102; interval: 300 bootstrap samples of its 240 runs by zoo.scaling",
    ),
    Published(
        "Kaplan et al.",
        KAPLAN,
        NotPublished(),
        "arXiv 2001.08361, appendix A: 1.3e9 C^0.73, C in PF-days; N without embeddings",
    ),
)
"""The laws, each with its source."""


def compute_multiple(law: Law, params: float, tokens: float) -> float:
    """Return the share of 6ND with which the best model reaches the same loss: 1 at the optimum.

    Along the optimum, the reducible loss falls as C^(-alpha beta / (alpha + beta)).
    """
    flops = FLOPS_PER_PARAM_AND_TOKEN * params * tokens
    best = law.optimum
    reducible = law.loss(params, tokens) - law.E
    least = law.loss(best.params(flops), best.tokens(flops)) - law.E
    return (least / reducible) ** ((law.alpha + law.beta) / (law.alpha * law.beta))
