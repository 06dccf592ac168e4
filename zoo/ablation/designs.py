"""The variants of each design, and the contrasts that measure its effects.

A variant is the set of choices that it takes from the end. A contrast is a weighted sum of the
scores of variants; its weights sum to zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import assert_never

from configs.studies.study import Design

Variant = frozenset[str]

START: Variant = frozenset()


@dataclass(frozen=True)
class Contrast:
    """The effect of a choice, or of two together, measured by one design."""

    name: str
    weights: dict[Variant, float]
    aliases: tuple[str, ...] = ()
    """Effects that the same weights measure, and that cannot be told apart from this one."""


def label(variant: Variant, choices: Sequence[str]) -> str:
    """Return the name of a variant, by the fewer of the choices taken and not taken."""
    named = [choice for choice in choices if choice in variant]
    left = [choice for choice in choices if choice not in variant]
    if not left:
        return "end"
    if not named:
        return "start"
    if len(left) < len(named):
        return f"end without {', '.join(left)}"
    return f"start with {', '.join(named)}"


def contrasts(design: Design, choices: Sequence[str]) -> list[Contrast]:
    """Return the effects that a design measures: the change towards the end is positive."""
    end = frozenset(choices)
    match design:
        case "from_start":
            return [Contrast(c, {frozenset({c}): 1.0, START: -1.0}) for c in choices]
        case "from_end":
            return [Contrast(c, {end: 1.0, end - {c}: -1.0}) for c in choices]
        case "path":
            steps = [frozenset(choices[:k]) for k in range(len(choices) + 1)]
            pairs = zip(choices, steps[1:], steps, strict=False)
            return [Contrast(c, {after: 1.0, before: -1.0}) for c, after, before in pairs]
        case "factorial":
            return _factorial(choices)
        case _:
            assert_never(design)


def variants(designs: Sequence[Design], choices: Sequence[str]) -> list[Variant]:
    """Return the variants that the designs need, the two ends first, each of them once."""
    needed = [variant for design in designs for variant in variants_of(design, choices)]
    return list(dict.fromkeys([START, frozenset(choices), *needed]))


def variants_of(design: Design, choices: Sequence[str]) -> list[Variant]:
    """Return the variants of one design, the one that the others are compared with first."""
    found = [variant for contrast in contrasts(design, choices) for variant in contrast.weights]
    base = frozenset(choices) if design == "from_end" else START
    return sorted(dict.fromkeys(found), key=lambda variant: variant != base)


def _factorial(choices: Sequence[str]) -> list[Contrast]:
    """Return main effects and pairs of a 2^(k-p) design of resolution IV, for five choices V.

    Run r of 2^m takes choice c if the bits that r shares with the mask of c are even in number.
    Masks with an odd number of bits make all main effects clear of each other and of all pairs: the
    sum of two such masks is even, and so is never a third one. Run 0 is the end. Two pairs whose
    masks have the same sum are aliased. Of five choices, one with all four bits keeps all pairs
    clear as well. Three choices together are taken to have no effect of their own.
    """
    num_bits = next(m for m in range(1, 64) if 2 ** (m - 1) >= len(choices))
    odd = [mask for mask in range(2**num_bits) if mask.bit_count() % 2]
    odd.sort(key=int.bit_count)  # with few choices, a full factorial of them comes first
    masks = dict(zip(choices, (1, 2, 4, 8, 15) if len(choices) == 5 else odd, strict=False))
    runs = [
        frozenset(c for c, mask in masks.items() if _sign(mask, run) > 0)
        for run in range(2**num_bits)
    ]
    effects = [Contrast(c, _halves(runs, mask)) for c, mask in masks.items()]
    pairs: dict[int, list[str]] = {}
    for one, other in combinations(choices, 2):
        pairs.setdefault(masks[one] ^ masks[other], []).append(f"{one} x {other}")
    for mask, names in pairs.items():
        halves = _halves(runs, mask)  # of which the effect of a differs with b and without it
        doubled = {variant: 2 * weight for variant, weight in halves.items()}
        effects.append(Contrast(names[0], doubled, tuple(names[1:])))
    return effects


def _sign(mask: int, run: int) -> int:
    return -1 if (mask & run).bit_count() % 2 else 1


def _halves(runs: Sequence[Variant], mask: int) -> dict[Variant, float]:
    """Return the weights of: the mean of one half of the runs, less the mean of the other."""
    weights: dict[Variant, float] = {}
    for number, variant in enumerate(runs):
        weight = 2 * _sign(mask, number) / len(runs)
        weights[variant] = weights.get(variant, 0.0) + weight
    return weights
