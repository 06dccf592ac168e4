"""Curves as pictures: inline SVG that follows the colours of its page, or a file for print."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID = "#1b2028", "#d5d9df"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#8e44ad", "#b8860b", "#c2185b", "#3f9bd8", "#6b6b6b")
"""Dark enough for paper; told apart by the color-blind (after Okabe and Ito)."""
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
"""Each line has its own, for prints without color."""
SMOOTHING = 50
"""A smooth curve is the mean over this fraction of the run: one fiftieth."""
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


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


@dataclass(frozen=True)
class Panel:
    """One picture: curves over one axis."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: dict[str, float] = field(default_factory=dict)
    """Horizontal lines by name, to compare with."""
    cuts_peaks: bool = False
    """Choose the range of y from 0 so that rare peaks leave it."""
    cuts_start: bool = False
    """Choose the range of y so that what follows the first twentieth of the run fills it."""


def smoothed(values: np.ndarray) -> np.ndarray:
    """Replace each value by the mean of the fiftieth of the curve that ends at it."""
    window = max(1, len(values) // SMOOTHING)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def inline_svg(panel: Panel, name: str) -> str:
    """Return the panel as an SVG element whose colors are the page's variables.

    Args:
      name: prefix of the ids in it, different for each picture of a page.
    """
    from io import StringIO

    figure = _figure([panel], 1, width=5.2, height=3.0, titles=False)
    text = StringIO()
    with _style():
        figure.savefig(text, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<g id="\w+">', "<g>", svg)
    svg = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    svg = svg.replace("'DejaVu Sans', ", "").replace("<svg", f'<svg role="img" id="{name}"', 1)
    return svg.strip()


def picture(
    panels: Sequence[Panel], title: str = "", *, legend: bool = False, kind: str = "png"
) -> bytes:
    """Return the panels side by side as a file of the `kind` png, svg or pdf.

    Args:
      legend: put one legend of all lines below the panels.
    """
    from io import BytesIO

    figure = _figure(panels, len(panels), width=5.2 * len(panels), height=4.2, titles=True)
    if title:
        figure.suptitle(title, color=INK)
    if legend:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False
        )
    file = BytesIO()
    with _style():
        figure.savefig(file, dpi=160, format=kind, metadata=_NO_DATE[kind])
    return file.getvalue()


_VARIABLES = {INK: "--ink", GRID: "--grid"} | {c: f"--c{i}" for i, c in enumerate(COLORS)}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def _style():
    import matplotlib

    return matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo", "font.size": 9})


def _figure(
    panels: Sequence[Panel], columns: int, *, width: float, height: float, titles: bool
) -> "Figure":
    # Without pyplot and without a choice of backend: a notebook's own plots stay as they are.
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        for panel, axes in zip(panels, np.ravel(figure.subplots(1, columns)), strict=True):
            _draw(panel, axes)
            if titles:
                axes.set_title(panel.title, color=INK, fontsize=10)
    return figure


def _draw(panel: Panel, axes: "Axes") -> None:
    for line in panel.lines:
        color, dashes = COLORS[line.style % len(COLORS)], DASHES[line.style % len(DASHES)]
        if line.range is not None:
            axes.fill_between(line.x, *line.range, color=color, alpha=0.18, linewidth=0)
        y = line.y
        if line.is_noisy:
            axes.plot(line.x, line.y, color=color, alpha=0.3, linewidth=0.7)
            y = smoothed(line.y)
        marker = "o" if len(line.x) <= 40 and not line.is_noisy else ""
        axes.plot(
            line.x, y, label=line.label, color=color, linestyle=dashes, linewidth=1.6,
            marker=marker, markersize=3,
        )  # fmt: skip
    bottom, top = _limits(panel) if panel.cuts_start else (None, None)
    if panel.cuts_peaks:
        bottom, top = 0.0, 1.3 * max(float(np.quantile(line.y, 0.95)) for line in panel.lines)
    highest = max(panel.levels.values(), default=0.0)
    for (name, level), dashes in zip(panel.levels.items(), ("--", ":", "-."), strict=False):
        axes.axhline(level, linestyle=dashes, color=INK, linewidth=0.9, alpha=0.7)
        above = level == highest  # the names of two levels that are close do not collide
        axes.annotate(
            name, (1, level), xycoords=("axes fraction", "data"), color=INK, fontsize=8,
            ha="right", va="bottom" if above else "top", xytext=(-2, 1 if above else -1),
            textcoords="offset points",
        )  # fmt: skip
    if panel.levels:
        axes.margins(y=0.09)
    axes.set_ylim(bottom, top)
    axes.set_xlabel(panel.x_label, color=INK)
    axes.set_ylabel(panel.y_label, color=INK)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelcolor=INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.xaxis.set_major_formatter(_with_unit)
    if panel.lines and all(len(line.y) for line in panel.lines):
        largest = max(float(np.max(np.abs(line.y))) for line in panel.lines)
        if largest >= 1e4:
            axes.yaxis.set_major_formatter(_with_unit)


def _limits(panel: Panel) -> tuple[float, float]:
    """Return the range of the smooth curves after the first twentieth, with the levels in it."""
    ends = max((float(line.x[-1]) for line in panel.lines if len(line.x)), default=0.0)
    shown = [
        smoothed(line.y)[line.x >= min(ends / 20, float(line.x[-1]))] if line.is_noisy
        else line.y[line.x >= min(ends / 20, float(line.x[-1]))]
        for line in panel.lines
        if len(line.x)
    ]  # fmt: skip
    values = np.concatenate([*shown, list(panel.levels.values())]) if shown else np.array([0, 1.0])
    margin = 0.09 * (float(values.max() - values.min()) or 1.0)
    return float(values.min()) - margin, float(values.max()) + margin


def _with_unit(value: float, _position: float) -> str:
    """Return 1.5k, 20M, 3B or 1e21 for a number of steps, tokens or FLOPs."""
    size = abs(value)
    if size >= 1e15:
        return f"{value:.2g}".replace("e+", "e")
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"
