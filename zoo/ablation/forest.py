"""A forest plot: the effect of each choice with its interval, as an SVG element.

Its colors are the variables of zoo.reporting's pages, with a value of their own in a file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from zoo.ablation.statistics import Interval
from zoo.reporting.plots import COLORS, GRID, INK

_PLOT, _RIGHT_MARGIN, _ROW, _TOP, _BOTTOM = 350, 110, 24, 26, 44
_LETTER = 7.2
"""Width of a letter."""
_MUTED = "#59616e"


@dataclass(frozen=True)
class Row:
    """One effect."""

    name: str
    mean: float
    interval: Interval
    is_noise: bool


def forest(title: str, x_label: str, rows: Sequence[Row]) -> str:
    """Return the plot. Effects below zero are improvements."""
    low, high = _range(rows)
    left = 20 + _LETTER * max((len(row.name) for row in rows), default=0)
    right = left + _PLOT
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * _PLOT

    bottom = height - _BOTTOM
    start = (
        f'<svg role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {right + _RIGHT_MARGIN:.0f} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    parts = [start]
    for tick in _ticks(low, high):
        parts.append(_line(x(tick), _TOP - 6, x(tick), bottom, f"var(--grid, {GRID})"))
        parts.append(_text(x(tick), bottom + 16, f"{tick:+g}" if tick else "0", "middle"))
    parts.append(_line(x(0), _TOP - 6, x(0), bottom, f"var(--ink, {INK})"))
    parts.append(_text((left + right) / 2, height - 8, x_label, "middle"))
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + _ROW / 2
        color = _color(row)
        first, last = (x(value) for value in row.interval)
        parts += [
            _text(left - 10, y + 4, row.name, "end"),
            _line(first, y, last, y, color, width=3),
            f'<circle cx="{x(row.mean):.1f}" cy="{y:.1f}" r="5" style="fill:{color}"/>',
            _text(right + 8, y + 4, f"{row.mean:+.4f}" + (" noise" if row.is_noise else "")),
        ]
    return "".join([*parts, "</svg>"])


def _color(row: Row) -> str:
    if row.is_noise:
        return f"var(--muted, {_MUTED})"
    number = 2 if row.mean < 0 else 1
    return f"var(--c{number}, {COLORS[number]})"


def _range(rows: Sequence[Row]) -> Interval:
    """Return the ends of the axis: all intervals and zero, with a margin."""
    ends = [0.0, *(end for row in rows for end in row.interval)]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers in between, zero among them."""
    least = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(least))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= least)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'style="stroke:{color};stroke-width:{width:g}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'style="fill:var(--ink, {INK})">{escape(text)}</text>'
    )
