"""Differences between variants that were trained with several seeds: words, a table, a drawing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.ablation.designs import Contrast
from zoo.ablation.forest import Row, forest
from zoo.ablation.report import BITS, NOISE, verdict
from zoo.ablation.statistics import CONFIDENCE, POWER, Effect, Noise, effects
from zoo.explaining.tables import Table

Differences = Mapping[str, Effect | None]
"""Effects in bits per byte, by names such as `SwiGLU less GELU`; None: a run diverged."""


def differences_from(base: str, scores: Mapping[str, Sequence[float | None]]) -> Differences:
    """Return the difference of each other variant from `base`, by the noise of them all.

    Args:
      scores: bits per byte of each seed, in the same order for all variants; None: it diverged.
    """
    by_variant = {frozenset({name}): values for name, values in scores.items()}
    contrasts = [
        Contrast(f"{name} less {base}", {frozenset({name}): 1.0, frozenset({base}): -1.0})
        for name in scores
        if name != base
    ]
    noise = Noise.of(by_variant)
    if noise is None:
        return {each.name: None for each in contrasts}
    found = effects(by_variant, contrasts, noise, len(contrasts))
    return {each.name: effect for each, effect in zip(contrasts, found, strict=True)}


def sentence(name: str, effect: Effect | None) -> str:
    """Return the difference with its interval in words, and what it cannot tell."""
    if effect is None:
        return f"{name}: a run diverged, so nothing can be said."
    low, high = effect.interval
    told = f"{name}: {effect.mean:+.4f} {BITS} ({low:+.4f} to {high:+.4f}), "
    seeds = f"{len(effect.by_seed)} seeds"
    if effect.is_noise:
        told += f"{NOISE} with {seeds}; only a difference of "
        return told + f"{effect.smallest_visible:.4f} would have been found reliably."
    return f"{told}{verdict(effect)} by more than the noise of {seeds}."


def table(differences: Differences) -> Table:
    """Return the differences with their intervals."""
    rows = []
    for name, effect in differences.items():
        if effect is None:
            rows.append([name, "-", "a run diverged", "-", "-"])
            continue
        low, high = effect.interval
        cells = [f"{effect.mean:+.4f}", verdict(effect), f"{low:+.4f} to {high:+.4f}"]
        rows.append([name, *cells, f"{effect.smallest_visible:.4f}"])
    note = (
        f"{BITS.capitalize()}; below zero is better. The intervals hold all differences of the "
        f"table together with probability {CONFIDENCE:.0%}. Visible from: a difference of this "
        f"size is found with probability {POWER:.0%}."
    )
    return Table("Differences", ("", "mean", "verdict", "interval", "visible from"), rows, [note])


def drawing(title: str, differences: Differences) -> str:
    """Return the forest plot as an SVG element."""
    label = f"difference in {BITS}: better on the left"
    rows = [
        Row(name, effect.mean, effect.interval, effect.is_noise)
        for name, effect in differences.items()
        if effect is not None
    ]
    return forest(title, label, rows)


def to_json(differences: Differences) -> list[dict[str, Any]]:
    """Return the differences as JSON values."""
    found = []
    for name, effect in differences.items():
        values: dict[str, Any] = {"name": name, "diverged": effect is None}
        if effect is not None:
            values |= {
                "by_seed": list(effect.by_seed),
                "mean": effect.mean,
                "interval": [_finite(end) for end in effect.interval],
                "is_noise": effect.is_noise,
                "smallest_visible": effect.smallest_visible,
            }
        found.append(values)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
