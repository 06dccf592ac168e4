"""All approaches on the same runs, and their intervals by bootstrap."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from zoo.scaling_laws.isoflop import Parabola, by_envelope, by_parabolas, fit_parabola
from zoo.scaling_laws.law import Law, PowerLaw
from zoo.scaling_laws.parametric import fit_law, refit_law
from zoo.scaling_laws.points import Points
from zoo.scaling_laws.projection import project

Interval = tuple[float, float]

QUANTILES = (0.1, 0.9)
"""The ends of an interval: the 10th and the 90th percentile, as in Chinchilla's Table 2."""
NUM_CONSTANTS = 5


@dataclass(frozen=True)
class Approaches:
    """The estimates that several approaches make from the same runs."""

    law: Law
    """Approach 3: all runs at once, Huber loss."""
    projected: Law
    """The same law by variable projection, squared error."""
    parabolas: list[Parabola]
    """The loss of each budget over log N."""
    envelope: PowerLaw | None
    """Approach 1; None if too few runs are on the envelope."""

    @property
    def optima(self) -> dict[str, PowerLaw]:
        """N_opt(C) by approach, for those that find one."""
        found = {
            "law (approach 3)": self.law.optimum,
            "variable projection": _optimum(self.projected),
            "parabolas (approach 2)": by_parabolas(self.parabolas),
            "envelope (approach 1)": self.envelope,
        }
        return {name: optimum for name, optimum in found.items() if optimum is not None}


def _optimum(law: Law) -> PowerLaw | None:
    """Return the law's optimum; None if a term is zero, so that there is none."""
    return law.optimum if min(law.A, law.B) > 0 else None


def estimate(points: Points) -> Approaches:
    """Return the estimates. Raises ConfigError for too few points."""
    return _approaches(points, points.budgets, fit_law(points), project(points))


def _approaches(points: Points, budgets: list[Points], law: Law, projected: Law) -> Approaches:
    return Approaches(law, projected, [fit_parabola(each) for each in budgets], by_envelope(points))


def resamples(
    points: Points, found: Approaches, number: int, seed: int = 0
) -> Iterator[Approaches]:
    """Yield the estimates from `number` samples of the runs, drawn with replacement.

    Each budget keeps its number of runs. A minimum is searched from the one of all runs.
    """
    rng = np.random.default_rng(seed)
    strata = points.budget_indices
    others = np.setdiff1d(np.arange(len(points)), np.concatenate([np.empty(0, int), *strata]))
    for _ in range(number):
        drawn = [rng.choice(stratum, len(stratum)) for stratum in strata]
        rest = rng.choice(others, len(others)) if len(others) else others
        sample = points[np.concatenate([*drawn, rest])]
        budgets = [points[indices] for indices in drawn]
        law, projected = refit_law(sample, found.law), project(sample, found.projected)
        yield _approaches(sample, budgets, law, projected)


@dataclass(frozen=True)
class Estimate:
    """The estimates of the approaches, and how they vary over samples of the runs."""

    points: Points
    found: Approaches
    samples: list[Approaches]

    @property
    def widening(self) -> float:
        """The factor sqrt(n / (n - 5)) of an interval: few runs also hide their own spread."""
        return math.sqrt(len(self.points) / max(1, len(self.points) - NUM_CONSTANTS))

    def interval(self, value: Callable[[Approaches], float | None]) -> Interval | None:
        """Return the interval of a value; None if there are no samples that have it."""
        values = [number for sample in self.samples if (number := value(sample)) is not None]
        if not values:
            return None
        low, middle, high = np.quantile(values, [QUANTILES[0], 0.5, QUANTILES[1]])
        wide = self.widening
        return float(middle + wide * (low - middle)), float(middle + wide * (high - middle))

    def constant(self, name: str) -> Interval | None:
        """Return the interval of a constant of the law, or of its `exponent`."""
        return self.interval(lambda sample: getattr(sample.law, name))

    def exponent(self, approach: str) -> Interval | None:
        """Return the interval of an approach's exponent a of N_opt ~ C^a."""
        return self.interval(
            lambda sample: optimum.exponent if (optimum := sample.optima.get(approach)) else None
        )

    def params(self, approach: str, flops: float) -> Interval | None:
        """Return the interval of an approach's N_opt at C `flops`."""
        log_params = self.interval(
            lambda sample: (
                math.log(optimum.params(flops))
                if (optimum := sample.optima.get(approach))
                else None
            )
        )
        return None if log_params is None else (math.exp(log_params[0]), math.exp(log_params[1]))
