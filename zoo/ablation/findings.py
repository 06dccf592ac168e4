"""All results of a study: the variants, the noise between seeds, and the effects of the choices."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from configs.studies.study import Design
from models.flops import kv_cache_bytes_per_token
from zoo.ablation.choices import words
from zoo.ablation.designs import Contrast, Variant, contrasts, variants_of
from zoo.ablation.equal import train_flops_per_token
from zoo.ablation.statistics import SIZES, Effect, Noise, effects
from zoo.ablation.study import Run, Study, settings_json
from zoo.ablation.sweep import is_bracketed
from zoo.scaling_laws.sizes import num_params


@dataclass(frozen=True)
class VariantResult:
    """One variant with the runs of all its seeds."""

    name: str
    variant: Variant
    runs: tuple[Run, ...]
    num_params: int
    d_ff: int
    """Feed-forward width, which holds the budget."""
    flops_per_token: int
    """Training FLOPs of all matrix products."""
    cache_bytes_per_token: float
    """KV cache in bfloat16 at the study's length."""
    peak_lr: float
    is_bracketed: bool
    """True if its sweep has found a worse peak on both sides."""

    @property
    def scores(self) -> tuple[float | None, ...]:
        """Bits per byte of each seed; None: the run diverged."""
        return tuple(run.trained.bits_per_byte for run in self.runs)

    @property
    def mean(self) -> float | None:
        """The mean score; None if a run diverged."""
        scores = [score for score in self.scores if score is not None]
        return statistics.fmean(scores) if len(scores) == len(self.runs) else None

    @property
    def tokens_per_s(self) -> float | None:
        """The median speed."""
        speeds = [s for run in self.runs if (s := run.trained.tokens_per_s) is not None]
        return statistics.median(speeds) if speeds else None


@dataclass(frozen=True)
class Findings:
    """The results of the finished part of a study."""

    study: Study
    variants: tuple[VariantResult, ...]
    """The variants of which all seeds are finished."""
    noise: dict[Design, Noise]
    """The noise of each design's own variants; a design is missing until one of them is finished
    whose runs have not diverged. Models that train calmly and models at the edge of instability
    differ in it, and the designs around the two ends are often just these."""
    effects: dict[Design, list[tuple[Contrast, Effect | None]]]
    """The effects of which all runs are finished; None: one of them diverged."""

    @classmethod
    def of(cls, study: Study) -> "Findings":
        """Return what the finished runs show."""
        results = tuple(_results(study))
        scores = {each.variant: each.scores for each in results}
        comparisons = num_effects(study)
        noises: dict[Design, Noise] = {}
        found: dict[Design, list[tuple[Contrast, Effect | None]]] = {}
        for design in study.settings.designs:
            of_design = variants_of(design, study.choices)
            noise = Noise.of({v: scores[v] for v in of_design if v in scores})
            if noise is None:
                continue
            noises[design] = noise
            planned = contrasts(design, study.choices)
            measured = [each for each in planned if each.weights.keys() <= scores.keys()]
            if measured:
                all_effects = effects(scores, measured, noise, comparisons)
                found[design] = list(zip(measured, all_effects, strict=True))
        return cls(study, results, noises, found)

    @property
    def is_finished(self) -> bool:
        """True if every run is."""
        return len(self.variants) == len(self.study.variants)

    def seeds_needed(self, design: Design) -> dict[float, int | None]:
        """Return the seeds that find an effect of each of SIZES; None: more than are reasonable.

        The design must have variants with known noise.
        """
        number = len(variants_of(design, self.study.choices))
        comparisons, noise = num_effects(self.study), self.noise[design]
        return {size: noise.seeds_needed(size, number, comparisons) for size in SIZES}

    def base_std(self) -> float | None:
        """Return the standard deviation of the start's scores; None unless it has two."""
        starts = [each for each in self.variants if not each.variant]
        scores = [s for each in starts for s in each.scores if s is not None]
        return statistics.stdev(scores) if len(scores) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return the results as JSON values. Field names are stable; docs/json.md has them."""
        s = self.study
        return {
            "study": settings_json(s.settings),
            "choices": {
                choice: [words(end, choice) for end in (s.made.start, s.made.end)]
                for choice in s.choices
            },
            "finished": self.is_finished,
            "noise": {design: asdict(noise) for design, noise in self.noise.items()},
            "seeds_needed": {
                design: {f"{size:g}": n for size, n in self.seeds_needed(design).items()}
                for design in self.noise
            },
            "variants": [_variant_json(each) for each in self.variants],
            "effects": {
                design: [_effect_json(contrast, effect) for contrast, effect in found]
                for design, found in self.effects.items()
            },
        }


def num_effects(study: Study) -> int:
    """Return the number of different effects of all designs, for which each is corrected."""
    found = {
        frozenset(each.weights.items())
        for design in study.settings.designs
        for each in contrasts(design, study.choices)
    }
    return len(found)


def _results(study: Study) -> Iterable[VariantResult]:
    for variant in study.variants:
        runs = study.runs_of(variant)
        if runs is None:
            continue
        run, sweep = study.made.run(variant), study.sweep(variant)
        yield VariantResult(
            name=study.label(variant),
            variant=variant,
            runs=tuple(runs),
            num_params=num_params(run.model),
            d_ff=run.model.feed_forward.d_ff,
            flops_per_token=train_flops_per_token(run.model, run.seq_len),
            cache_bytes_per_token=kv_cache_bytes_per_token(run.model, run.seq_len),
            peak_lr=runs[0].peak_lr,
            is_bracketed=is_bracketed(sweep),
        )


def _variant_json(each: VariantResult) -> dict[str, Any]:
    return {
        "name": each.name,
        "choices": sorted(each.variant),
        "bits_per_byte": list(each.scores),
        "mean": each.mean,
        "num_params": each.num_params,
        "d_ff": each.d_ff,
        "flops_per_token": each.flops_per_token,
        "kv_cache_bytes_per_token": each.cache_bytes_per_token,
        "peak_lr": each.peak_lr,
        "peak_is_bracketed": each.is_bracketed,
        "tokens_per_s": each.tokens_per_s,
    }


def _effect_json(contrast: Contrast, effect: Effect | None) -> dict[str, Any]:
    named = {"name": contrast.name, "aliases": list(contrast.aliases)}
    if effect is None:
        return {**named, "diverged": True}
    return {
        **named,
        "diverged": False,
        "by_seed": list(effect.by_seed),
        "mean": effect.mean,
        "interval": list(effect.interval),
        "t_interval": [_finite(x) for x in effect.own_interval],
        "bootstrap_interval": [_finite(x) for x in effect.bootstrap],
        "p_value": effect.p_value,
        "is_noise": effect.is_noise,
        "smallest_visible": effect.smallest_visible,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
