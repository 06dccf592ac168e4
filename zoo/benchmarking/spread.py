"""Repeated figures: their median and spread, and how two of them compare."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Better = Literal["lower", "higher"]


class Spread(NamedTuple):
    """The median of some values, and the quartiles between which half of them lie."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Return the spread of one or more values; of one, all three are equal."""
        if len(values) == 1:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)


@dataclass(frozen=True)
class Figure:
    """One kind of figure, once for every repeat, or once for all of them."""

    unit: str
    better: Better
    values: tuple[float, ...]

    @property
    def spread(self) -> Spread:
        """Median and quartiles."""
        return Spread.of(self.values)

    def times_better(self, other: "Figure") -> Spread:
        """Return how many times better this figure is than `other`, repeat by repeat.

        Above 1, this one is better, whether the figure is a time or a speed. Repeats of the two
        were taken in turn: the ratio of two neighbours does not depend on what else the machine
        does from minute to minute.
        """
        pairs = zip(self.values, other.values, strict=True)
        if self.better == "lower":
            return Spread.of([_ratio(theirs, ours) for ours, theirs in pairs])
        return Spread.of([_ratio(ours, theirs) for ours, theirs in pairs])

    def is_worse_than(self, low: float, high: float) -> bool:
        """Return True if the quartiles lie wholly on the worse side of those given."""
        now = self.spread
        return now.low > high if self.better == "lower" else now.high < low

    def to_json(self) -> dict[str, Any]:
        """Return the unit, the better direction, all values, their median and their quartiles."""
        spread = self.spread
        return {
            "unit": self.unit,
            "better": self.better,
            "median": spread.median,
            "low": spread.low,
            "high": spread.high,
            "values": list(self.values),
        }


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.inf
