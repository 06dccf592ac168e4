"""Curves: what a picture shows, and the picture as a file. `svg.py` draws the same into a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

INK, GRID = "#1b2028", "#d5d9df"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#8e44ad", "#b8860b", "#c2185b", "#3f9bd8", "#6b6b6b")
"""Dark enough for paper; told apart by the color-blind (after Okabe and Ito)."""
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 2), (6, 2, 1, 2), (1, 1), (6, 1, 1, 1, 1, 1))
"""Lengths of dashes and gaps, in widths of the line: prints without color tell the lines apart."""
LEVEL_DASHES = ((4, 2), (1, 2), (6, 2, 1, 2))
SMOOTHING = 50
"""A smooth curve is the mean over this fraction of the run: one fiftieth."""


Scale = Literal["linear", "log"]
"""The way an axis places its values."""


@dataclass(frozen=True)
class Line:
    """One curve of a panel."""

    label: str
    x: np.ndarray
    y: np.ndarray
    range: tuple[np.ndarray, np.ndarray] | None = None
    """Lowest and highest value around each point; None: the points are the values."""
    is_noisy: bool = False
    """Draw it pale, with a smooth curve on top."""
    style: int = 0
    """Number of its color and dashes."""
    is_joined: bool = True
    """Draw the line; False: only the points."""

    @property
    def main(self) -> np.ndarray:
        """[points] the values of the curve that stands out: the smooth one of a noisy line."""
        return smoothed(self.y) if self.is_noisy else self.y

    @property
    def has_markers(self) -> bool:
        """True if each point is marked: there are few, or a line needs two."""
        few = len(self.x) == 1 or (not self.is_noisy and len(self.x) <= 20)
        return few or not self.is_joined


@dataclass(frozen=True)
class Panel:
    """One picture: curves over one axis."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: dict[str, float] = field(default_factory=dict)
    """Horizontal lines by name, to compare with."""
    marks: dict[float, str] = field(default_factory=dict)
    """Vertical lines with what happened there."""
    shows: Literal["all", "end", "usual"] = "all"
    """all: every value. end: the smooth curves without the first twentieth of the run. usual: from
    0, without rare peaks."""
    scales: tuple[Scale, Scale] = ("linear", "linear")
    """The horizontal and the vertical axis."""

    def x_range(self) -> tuple[float, float]:
        """Return 0 and a little more than the largest value; of a log axis, its two ends."""
        if self.scales[0] == "log":
            return _log_range([line.x for line in self.lines])
        ends = [float(line.x[-1]) for line in self.lines if len(line.x)]
        return 0.0, 1.015 * max(ends, default=1.0)

    def y_range(self) -> tuple[float, float]:
        """Return the ends of the vertical axis, with a margin and with the levels inside."""
        lines = [line for line in self.lines if len(line.y)]
        if self.scales[1] == "log":
            return _log_range([line.y for line in lines])
        if self.shows == "usual" and lines:
            return 0.0, 1.3 * max(float(np.quantile(line.y, 0.95)) for line in lines) or 1.0
        if self.shows == "end":
            start = self.x_range()[1] / 20
            shown = [line.main[line.x >= min(start, line.x[-1])] for line in lines]
        else:
            shown = [values for line in lines for values in (line.range or (line.y,))]
        values = np.concatenate([*shown, list(self.levels.values())])
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        margin = 0.09 * (high - low) or 0.1 * abs(high) or 1.0
        return low - margin, high + margin


def _log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the ends of a log axis, with a margin."""
    logs = np.log(np.concatenate(values)) if values else np.zeros(1)
    margin = 0.05 * float(np.ptp(logs)) or 1.0
    return float(np.exp(logs.min() - margin)), float(np.exp(logs.max() + margin))


def smoothed(values: np.ndarray) -> np.ndarray:
    """Replace each value by the mean of the fiftieth of the curve that ends at it."""
    window = max(1, len(values) // SMOOTHING)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def with_unit(value: float) -> str:
    """Return 1.5k, 20M, 3B or 1e21 for a number of steps, tokens or FLOPs."""
    size = abs(value)
    if size >= 1e15:
        return f"{value:.2g}".replace("e+", "e")
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def picture(panels: Sequence[Panel], title: str = "", *, kind: str = "png") -> bytes:
    """Return the panels side by side as a file of the `kind` png, svg or pdf.

    One legend of all lines is below the panels, if there is more than one line.
    """
    import matplotlib

    # Without pyplot and without a choice of backend: a notebook's own plots stay as they are.
    from matplotlib.figure import Figure

    file = BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo", "font.size": 9}):
        figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, axes in zip(panels, all_axes, strict=True):
            _draw(panel, axes)
        if title:
            figure.suptitle(title, color=INK)
        # A run without evaluations is in one panel only.
        legends = [axes.get_legend_handles_labels() for axes in all_axes]
        handles = {label: h for legend in legends for h, label in zip(*legend, strict=True)}
        if max(len(panel.lines) for panel in panels) > 1:
            figure.legend(
                handles.values(), handles.keys(), loc="outside lower center",
                ncols=min(3, len(handles)), frameon=False,
            )  # fmt: skip
        figure.savefig(file, dpi=160, format=kind, metadata=_NO_DATE[kind])
    return file.getvalue()


_NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def _draw(panel: Panel, axes: "Axes") -> None:
    for line in panel.lines:
        color, dashes = COLORS[line.style % len(COLORS)], DASHES[line.style % len(DASHES)]
        if line.range is not None:
            axes.fill_between(line.x, *line.range, color=color, alpha=0.18, linewidth=0)
        if line.is_noisy:
            axes.plot(line.x, line.y, color=color, alpha=0.3, linewidth=0.7)
        axes.plot(
            line.x, line.main, label=line.label, color=color, linewidth=1.6,
            linestyle=((0, dashes) if dashes else "-") if line.is_joined else "", markersize=3,
            marker="o" if line.has_markers else "",
        )  # fmt: skip
    highest = max(panel.levels.values(), default=0.0)
    for (name, level), dashes in zip(panel.levels.items(), LEVEL_DASHES, strict=False):
        axes.axhline(level, linestyle=(0, dashes), color=INK, linewidth=0.9, alpha=0.7)
        above = level == highest  # the names of two levels that are close do not collide
        axes.annotate(
            name, (1, level), xycoords=("axes fraction", "data"), color=INK, fontsize=8,
            ha="right", va="bottom" if above else "top", xytext=(-2, 1 if above else -1),
            textcoords="offset points",
        )  # fmt: skip
    axes.set_xscale(panel.scales[0])
    axes.set_yscale(panel.scales[1])
    axes.set_xlim(*panel.x_range())
    axes.set_ylim(*panel.y_range())
    axes.set_title(panel.title, color=INK, fontsize=10)
    axes.set_xlabel(panel.x_label, color=INK)
    axes.set_ylabel(panel.y_label, color=INK)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelcolor=INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.xaxis.set_major_formatter(lambda value, _: with_unit(value))
    for axis, scale, ends in (
        (axes.xaxis, panel.scales[0], panel.x_range()),
        (axes.yaxis, panel.scales[1], panel.y_range()),
    ):
        if scale == "log":
            _set_log_ticks(axis, *ends)


def _set_log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Put ticks at 1, 2 and 5 of each power of ten, or at 1 alone on a long axis."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_major_formatter(lambda value, _: with_unit(value))
    axis.set_minor_formatter(NullFormatter())
