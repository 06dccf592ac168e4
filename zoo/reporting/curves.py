"""The panels of a run's page: which metrics are drawn, and over what."""

import numpy as np

from zoo.reporting.history import Curve, History
from zoo.reporting.plots import Line, Panel
from zoo.reporting.recorded_run import BITS_PER_BYTE, RecordedRun

_MAIN = {
    "train/loss": ("training loss", "nats per token"),
    BITS_PER_BYTE: ("validation", "bits per byte"),
    "train/lr": ("learning rate", ""),
    "train/grad_norm": ("gradient norm", ""),
    "perf/tokens_per_s": ("speed", "tokens per second"),
}
"""Metrics that every page shows, with their titles and units."""
_NOT_DRAWN = ("data/", "perf/elapsed")


def panels(run: RecordedRun) -> tuple[list[Panel], list[Panel]]:
    """Return the panels that every page shows, and those of the other metrics."""
    curves = run.history.curves
    main = [
        _panel(run, name, title, unit) for name, (title, unit) in _MAIN.items() if name in curves
    ]
    rest = [name for name in sorted(curves) if name not in _MAIN]
    more = [_panel(run, name, name, "") for name in rest if not name.startswith(_NOT_DRAWN)]
    return main, more


def line(
    history: History, name: str, label: str, *, style: int = 0, over: str = "step", scale: float = 1
) -> Line:
    """Return the curve of a metric over the steps, or over a counter such as the tokens.

    Args:
      over: "step", or the metric that counts.
      scale: factor of that counter.
    """
    curve = history.curves[name]
    is_thinned = curve.steps_per_point > 1
    return Line(
        label,
        _x(history, curve, over) * scale,
        curve.means,
        range=(curve.lows, curve.highs) if is_thinned else None,
        is_noisy=not name.startswith("eval/") and name != "train/lr",
        style=style,
    )


def _x(history: History, curve: Curve, over: str) -> np.ndarray:
    if over == "step":
        return curve.steps
    counter = history.curves[over]
    return np.interp(curve.steps, counter.steps, counter.highs)


def _panel(run: RecordedRun, name: str, title: str, unit: str) -> Panel:
    levels = run.record.baselines if name == BITS_PER_BYTE else {}
    is_speed = name.startswith("perf/")  # a pause of the computer makes a peak
    lines = [line(run.history, name, title)]
    return Panel(title, "step", unit, lines, levels, cuts_peaks=is_speed)
