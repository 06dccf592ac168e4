"""The search for each variant's own peak learning rate."""

import math
from collections.abc import Mapping

FACTOR = 2.0
"""Ratio of neighbouring peaks."""
FIRST = (0, -1, 1)
"""Places of the first peaks: powers of FACTOR away from the peak of the variant's optimizer."""


def peak_lr(centre: float, place: int) -> float:
    """Return the peak at a place of the grid."""
    return centre * FACTOR**place


def next_places(scores: Mapping[int, float | None], furthest: int) -> list[int]:
    """Return the places to try, given the scores of those tried; none if the sweep has ended.

    A sweep ends once its best peak has one worse peak below it and two above, or at a place
    `furthest` away: near the largest peak that trains, one seed alone may be unlucky, and a peak
    above it better. A diverged run (None) is the worst.
    """
    missing = [place for place in FIRST if place not in scores]
    if missing:
        return missing
    best = best_place(scores)
    further = (best - 1, best + 1, best + 2)
    return [place for place in further if place not in scores and abs(place) <= furthest]


def best_place(scores: Mapping[int, float | None]) -> int:
    """Return the place of the lowest score; the lowest peak of equal ones."""
    return min(sorted(scores), key=lambda place: _or_worst(scores[place]))


def is_bracketed(scores: Mapping[int, float | None]) -> bool:
    """Return whether the best peak lies between two others."""
    return min(scores) < best_place(scores) < max(scores)


def _or_worst(score: float | None) -> float:
    return math.inf if score is None else score
