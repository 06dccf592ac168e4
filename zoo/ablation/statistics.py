"""Effects of choices with their uncertainty, from runs of the same seeds in every variant.

The score of variant v with seed s is modelled as m_v + b_s + e_vs: each variant has its mean, each
seed (a data order and initial parameters) its own shift, and the rest is noise of one variance for
all variants of a design. That is a randomised block design (Box, Hunter & Hunter 2005, chapter 4).
The shift of a seed drops out of every contrast, and the variants together estimate the variance.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from zoo.ablation.designs import Contrast, Variant

CONFIDENCE = 0.95
POWER = 0.8
"""The probability with which the smallest visible difference is found."""
RESAMPLES = 2000
SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Effects for which the needed seeds are told."""
MAX_SEEDS = 1000
UNEQUAL = 0.01
"""p-value of equal spread below which a report warns."""

Interval = tuple[float, float]
Scores = Mapping[Variant, Sequence[float | None]]
"""Scores of every seed, in the same order for all variants; None: the run diverged."""


@dataclass(frozen=True)
class Noise:
    """The spread that nothing but the seed makes."""

    std: float
    """Standard deviation of a score once the means of its variant and seed are subtracted."""
    degrees: int
    """Degrees of freedom of this estimate."""

    unequal: float | None = None
    """p-value of equal spread in all variants (Bartlett's test); None: it cannot be tested."""

    @classmethod
    def of(cls, scores: Scores) -> "Noise | None":
        """Return the residual spread of the variants without a diverged run.

        With one such variant it is the spread of its seeds, their shifts included; without one,
        None.
        """
        kept = [values for values in scores.values() if None not in values and len(values) > 1]
        if not kept:
            return None
        table = np.array(kept, float)
        if len(kept) == 1:
            return cls(float(table.std(ddof=1)), table.shape[1] - 1)
        residuals = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        degrees = (table.shape[0] - 1) * (table.shape[1] - 1)
        spread = bool((residuals.std(1) > 0).all())
        unequal = float(stats.bartlett(*residuals).pvalue) if spread else None
        return cls(math.sqrt(float((residuals**2).sum()) / degrees), degrees, unequal)

    @property
    def is_unequal(self) -> bool:
        """True if the variants do not have one spread, so that intervals of all may be wrong."""
        return self.unequal is not None and self.unequal < UNEQUAL

    def smallest_visible(self, weights_norm: float, num_seeds: int, comparisons: int) -> float:
        """Return the effect that a corrected test finds with probability POWER.

        `weights_norm`: the root of the sum of the squared weights of the contrast.
        """
        error = self.std * weights_norm / math.sqrt(num_seeds)
        quantile = _quantile(self.degrees, comparisons)

        def missing(shift: float) -> float:
            # To find it with the wrong sign is so unlikely that it does not count.
            return POWER - float(stats.nct.sf(quantile, self.degrees, shift))

        shift = optimize.root_scalar(missing, bracket=(0, 3 * quantile + 10)).root
        return float(shift) * error

    def seeds_needed(self, effect: float, num_variants: int, comparisons: int) -> int | None:
        """Return the seeds with which a difference of two variants of this size is found.

        None: more than MAX_SEEDS.
        """
        low, high = 2, MAX_SEEDS + 1
        while low < high:
            seeds = (low + high) // 2
            noise = Noise(self.std, (num_variants - 1) * (seeds - 1))
            if noise.smallest_visible(math.sqrt(2), seeds, comparisons) <= effect:
                high = seeds
            else:
                low = seeds + 1
        return low if low <= MAX_SEEDS else None


@dataclass(frozen=True)
class Effect:
    """One effect with its uncertainty, in units of the score."""

    contrast: Contrast
    by_seed: tuple[float, ...]
    """The effect with each seed."""
    noise: Noise
    comparisons: int
    """Effects of the whole study: intervals and p-values are corrected for them (Bonferroni)."""

    @property
    def mean(self) -> float:
        """The mean effect."""
        return math.fsum(self.by_seed) / len(self.by_seed)

    @property
    def error(self) -> float:
        """The standard error of the mean, by the noise of the design."""
        return self.noise.std * self._norm / math.sqrt(len(self.by_seed))

    @property
    def interval(self) -> Interval:
        """CONFIDENCE for all effects of the study together, by the noise of the design."""
        reach = self.error * _quantile(self.noise.degrees, self.comparisons)
        return self.mean - reach, self.mean + reach

    @property
    def own_interval(self) -> Interval:
        """CONFIDENCE for this effect alone, by Student's t of its own differences."""
        number = len(self.by_seed)
        if number < 2:
            return -math.inf, math.inf
        error = statistics.stdev(self.by_seed) / math.sqrt(number)
        reach = float(stats.t.isf((1 - CONFIDENCE) / 2, number - 1)) * error
        return self.mean - reach, self.mean + reach

    @property
    def bootstrap(self) -> Interval:
        """CONFIDENCE for this effect alone, by resampling the seeds."""
        found = stats.bootstrap(
            (self.by_seed,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES,
            method="percentile", rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        return float(found.low), float(found.high)

    @property
    def p_value(self) -> float:
        """The corrected probability of an effect this far from zero if there is none."""
        if not self.error:
            return float(self.mean == 0)
        p_value = 2 * float(stats.t.sf(abs(self.mean) / self.error, self.noise.degrees))
        return min(1.0, self.comparisons * p_value)

    @property
    def is_noise(self) -> bool:
        """True if the interval contains zero."""
        low, high = self.interval
        return low <= 0 <= high

    @property
    def smallest_visible(self) -> float:
        """The effect that this design would have found with probability POWER."""
        return self.noise.smallest_visible(self._norm, len(self.by_seed), self.comparisons)

    @property
    def _norm(self) -> float:
        return math.sqrt(math.fsum(weight**2 for weight in self.contrast.weights.values()))


def effects(
    scores: Scores, contrasts: Sequence[Contrast], noise: Noise, comparisons: int
) -> list[Effect | None]:
    """Return each contrast's effect; None: a run of it diverged.

    `comparisons`: the effects of the whole study, for which each is corrected.
    """
    found: list[Effect | None] = []
    for contrast in contrasts:
        table = [scores[variant] for variant in contrast.weights]
        if any(None in values for values in table):
            found.append(None)
            continue
        by_seed = np.array(list(contrast.weights.values())) @ np.array(table, float)
        found.append(Effect(contrast, tuple(by_seed.tolist()), noise, comparisons))
    return found


def _quantile(degrees: int, comparisons: int) -> float:
    """Return the t beyond which an effect counts, if `comparisons` of them are looked at."""
    return float(stats.t.isf((1 - CONFIDENCE) / (2 * comparisons), degrees))
