"""Effects of known size are found with the stated power, and null effects at the stated rate."""

import math

import numpy as np
import pytest
from scipy import stats

from zoo.ablation.designs import START, contrasts, variants
from zoo.ablation.statistics import POWER, Noise, effects

CHOICES = ["a", "b", "c", "d", "e"]
SEEDS = 3
STUDIES = 400


def scores(rng, effect_of_a: float, seeds: int = SEEDS, std: float = 0.01):
    """Scores of all variants of one synthetic study; every seed has a shift of its own."""
    shifts = rng.normal(scale=0.1, size=seeds)
    return {
        variant: list(2 + shifts + effect_of_a * ("a" in variant) + rng.normal(0, std, seeds))
        for variant in variants(["from_start", "from_end"], CHOICES)
    }


def noise_of(table) -> Noise:
    found = Noise.of(table)
    assert found is not None
    return found


DESIGNS = ("from_start", "from_end")
COMPARISONS = 2 * len(CHOICES)


def found_by(rng, effect_of_a: float) -> list[bool]:
    """Whether each effect, of `a` at the start first, is told from noise."""
    table = scores(rng, effect_of_a)
    planned = [each for design in DESIGNS for each in contrasts(design, CHOICES)]
    measured = effects(table, planned, noise_of(table), COMPARISONS)
    return [not effect.is_noise for effect in measured if effect is not None]


def test_a_null_effect_is_called_noise_at_the_stated_rate():
    """In at most 5 % of studies, some choice that does nothing is said to matter."""
    rng = np.random.default_rng(1)
    wrong = sum(any(found_by(rng, 0.0)) for _ in range(STUDIES))
    assert stats.binomtest(wrong, STUDIES, 0.05, alternative="greater").pvalue > 0.01
    assert wrong > 0  # the test can fail


def test_an_effect_of_the_smallest_visible_size_is_found_with_the_stated_power():
    rng = np.random.default_rng(2)
    number = len(variants(["from_start", "from_end"], CHOICES))
    noise = Noise(0.01, (number - 1) * (SEEDS - 1))
    size = noise.smallest_visible(math.sqrt(2), SEEDS, COMPARISONS)
    found = sum(found_by(rng, size)[0] for _ in range(STUDIES))
    assert stats.binomtest(found, STUDIES, POWER).pvalue > 0.01


@pytest.mark.parametrize("degrees", [1, 2, 10, 42, 1000])
@pytest.mark.parametrize("comparisons", [1, 10, 60])
def test_the_smallest_visible_effect_is_found_with_the_power_of_the_noncentral_t(
    degrees, comparisons
):
    shift = Noise(1.0, degrees).smallest_visible(1.0, 1, comparisons)
    quantile = stats.t.isf(0.05 / (2 * comparisons), degrees)
    assert stats.nct.sf(quantile, degrees, shift) == pytest.approx(POWER, abs=1e-6)


def test_the_noise_is_what_is_left_after_variants_and_seeds():
    rng = np.random.default_rng(3)
    found = [noise_of(scores(rng, 0.5)).std for _ in range(100)]
    assert np.mean(np.square(found)) == pytest.approx(0.01**2, rel=0.1)


def test_the_seeds_that_are_needed_make_the_effect_visible():
    noise = Noise(0.01, 10)
    for effect in (0.005, 0.02, 0.1):
        seeds = noise.seeds_needed(effect, 12, 10)
        assert seeds is not None
        again = Noise(0.01, 11 * (seeds - 1))
        assert again.smallest_visible(math.sqrt(2), seeds, 10) <= effect
        if seeds > 2:
            fewer = Noise(0.01, 11 * (seeds - 2))
            assert fewer.smallest_visible(math.sqrt(2), seeds - 1, 10) > effect
    assert noise.seeds_needed(1e-6, 12, 10) is None


def test_the_own_interval_is_students():
    table = scores(np.random.default_rng(4), 0.03)
    (effect, *_) = effects(table, contrasts("from_start", CHOICES), noise_of(table), len(CHOICES))
    assert effect is not None
    pairs = stats.ttest_rel(table[frozenset({"a"})], table[START]).confidence_interval(0.95)
    assert effect.own_interval == pytest.approx((pairs.low, pairs.high))
    low, high = effect.bootstrap
    assert min(effect.by_seed) <= low <= effect.mean <= high <= max(effect.by_seed)
    assert effect.interval[0] < effect.mean < effect.interval[1]


def test_a_diverged_run_leaves_its_effects_open_and_the_others_alone():
    table = scores(np.random.default_rng(5), 0.03)
    table[frozenset({"b"})] = [2.0, None, 2.0]
    found = effects(table, contrasts("from_start", CHOICES), noise_of(table), len(CHOICES))
    assert [effect is None for effect in found] == [False, True, False, False, False]


def test_the_first_noise_is_that_of_the_start_alone():
    assert Noise.of({}) is None
    assert Noise.of({START: [2.0, None]}) is None
    alone = noise_of({START: [2.0, 2.2]})
    assert (alone.std, alone.degrees) == (pytest.approx(0.2 / math.sqrt(2)), 1)


def test_a_spread_that_differs_between_variants_is_noticed():
    """At the stated level where it is the same, and mostly where one variant is ten times worse."""
    rng = np.random.default_rng(6)
    equal = sum(noise_of(scores(rng, 0.0, seeds=5)).is_unequal for _ in range(100))
    assert equal <= 6
    unequal = 0
    for _ in range(50):
        table = scores(rng, 0.0, seeds=5)
        table[START] = list(2 + rng.normal(0, 0.1, 5))
        unequal += noise_of(table).is_unequal
    assert unequal >= 45
