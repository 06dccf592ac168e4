"""Curves as SVG elements of a page, in the page's own colors and font."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import assert_never

import numpy as np

from zoo.reporting.plots import COLORS, DASHES, LEVEL_DASHES, Line, Panel, Scale, with_unit

_WIDTH, _HEIGHT = 520, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 508, 8, 248
"""The ends of the axes; the labels are outside."""
_MAX_POINTS = 600
"""Points of a curve: more than a screen shows. Of more, the band around it shows the extremes."""


def svg(panel: Panel) -> str:
    """Return the panel as an SVG element. Its colors are the variables of `markup.page`."""
    title = escape(f"{panel.title} over {panel.x_label}")
    parts = "".join([*_axes(panel), _curves(panel), *_levels(panel)])
    return f'<svg role="img" aria-label="{title}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{parts}</svg>'


def sample(style: int) -> str:
    """Return a piece of the line of that style, for a legend."""
    return (
        '<svg class="sample" viewBox="0 0 34 10" aria-hidden="true">'
        f'<path class="line" {_stroke(style)}d="M0 5H34"/></svg>'
    )


@dataclass(frozen=True)
class _Axis:
    """The places of the values from `low` to `high`, which lie between two ends."""

    low: float
    high: float
    start: float
    end: float

    def place(self, values: np.ndarray) -> np.ndarray:
        share = (values - self.low) / (self.high - self.low)
        return np.clip(self.start + share * (self.end - self.start), -9_999, 9_999)

    def at(self, value: float) -> float:
        return float(self.place(np.array(value)))

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield four to eight places of round numbers, and the numbers."""
        least = (self.high - self.low) / 8
        power = 10.0 ** math.floor(math.log10(least))
        step = next(s for s in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if s >= least)
        for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield self.at(k * step), _number(k * step, step)


@dataclass(frozen=True)
class _LogAxis(_Axis):
    """The places of the logarithms of the values."""

    def place(self, values: np.ndarray) -> np.ndarray:
        low, high = math.log(self.low), math.log(self.high)
        return _Axis(low, high, self.start, self.end).place(np.log(values))

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield the places of powers of ten and, if they are few, of round numbers between them."""
        powers = math.log10(self.high / self.low)
        digits = (1, 2, 5) if powers < 2.5 else (1, 3) if powers < 4 else (1,)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, round(powers / 8))
        for power in range(first, last + 1, every):
            for digit in digits:
                value = digit * 10.0**power
                if self.low <= value <= self.high:
                    yield self.at(value), with_unit(float(f"{value:.3g}"))


def _axis(scale: Scale, low: float, high: float, start: float, end: float) -> _Axis:
    match scale:
        case "linear":
            return _Axis(low, high, start, end)
        case "log":
            return _LogAxis(low, high, start, end)
        case _:
            assert_never(scale)


def _number(value: float, step: float) -> str:
    """Return a multiple of `step` with as many decimals as `step` has."""
    if step >= 100:
        return with_unit(value)
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < step / 100), None)
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"


def _x(panel: Panel) -> _Axis:
    return _axis(panel.scales[0], *panel.x_range(), _LEFT, _RIGHT)


def _y(panel: Panel) -> _Axis:
    return _axis(panel.scales[1], *panel.y_range(), _BOTTOM, _TOP)


def _axes(panel: Panel) -> Iterator[str]:
    middle = (_TOP + _BOTTOM) / 2
    for place, number in _x(panel).ticks():
        yield f'<path class="grid" d="M{place:.1f} {_TOP}V{_BOTTOM}"/>'
        yield _text(place, _BOTTOM + 17, number, "middle")
    for place, number in _y(panel).ticks():
        yield f'<path class="grid" d="M{_LEFT} {place:.1f}H{_RIGHT}"/>'
        yield _text(_LEFT - 6, place + 4, number, "end")
    yield _text((_LEFT + _RIGHT) / 2, _HEIGHT - 6, panel.x_label, "middle")
    turned = _text(14, middle, panel.y_label, "middle")
    yield f'<g transform="rotate(-90 14 {middle:g})">{turned}</g>'


def _curves(panel: Panel) -> str:
    x, y = _x(panel), _y(panel)
    parts = [part for line in panel.lines if len(line.x) for part in _curve(line, x, y.place)]
    parts += [
        f'<path class="mark" d="M{x.at(place):.1f} {_TOP}V{_BOTTOM}">'
        f"<title>{escape(event)}</title></path>"
        for place, event in panel.marks.items()
    ]
    # An svg of its own cuts off what leaves the range.
    box = f"{_LEFT} {_TOP} {_RIGHT - _LEFT} {_BOTTOM - _TOP}"
    left, top, width, height = box.split()
    return (
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="{box}">'
        f"{''.join(parts)}</svg>"
    )


def _curve(line: Line, axis: _Axis, y: Callable[[np.ndarray], np.ndarray]) -> Iterator[str]:
    x, color = axis.place(line.x), _color(line.style)
    every = -(-len(x) // _MAX_POINTS)
    starts = np.arange(0, len(x), every)
    if line.range is not None or every > 1:
        lows, highs = line.range or (line.y, line.y)
        lows, highs = np.minimum.reduceat(lows, starts), np.maximum.reduceat(highs, starts)
        edge = np.concatenate([lows, highs[::-1]])
        there_and_back = np.concatenate([x[starts], x[starts][::-1]])
        yield f'<path class="band" fill="{color}" d="M{_points(there_and_back, y(edge))}"/>'
    elif line.is_noisy:
        yield f'<path class="noise" stroke="{color}" d="M{_points(x, y(line.y))}"/>'
    kept = slice((len(x) - 1) % every, None, every)  # the last point among them
    if line.is_joined:
        path = _points(x[kept], y(line.main)[kept])
        yield f'<path class="line" {_stroke(line.style)}d="M{path}"/>'
    if line.has_markers:
        for place, height in zip(x, y(line.main), strict=True):
            yield f'<circle r="3" fill="{color}" cx="{place:.1f}" cy="{height:.1f}"/>'


def _levels(panel: Panel) -> Iterator[str]:
    y, highest = _y(panel), max(panel.levels.values(), default=0.0)
    for (name, level), dashes in zip(panel.levels.items(), LEVEL_DASHES, strict=False):
        place = y.at(level)
        yield f'<path class="level" {_dashed(dashes)}d="M{_LEFT} {place:.1f}H{_RIGHT}"/>'
        # The names of two levels that are close do not collide.
        yield _text(_RIGHT - 2, place - 4 if level == highest else place + 12, name, "end")


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _color(style: int) -> str:
    return f"var(--c{style % len(COLORS)})"


def _stroke(style: int) -> str:
    return f'stroke="{_color(style)}" {_dashed(DASHES[style % len(DASHES)], 2)}'


def _dashed(dashes: tuple[float, ...], width: float = 1) -> str:
    lengths = " ".join(f"{width * length:g}" for length in dashes)
    return f'stroke-dasharray="{lengths}" ' if dashes else ""


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
