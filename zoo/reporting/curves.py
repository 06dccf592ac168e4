"""The panels of a run's page: which metrics are drawn, and over what."""

import re
from collections.abc import Iterator

import numpy as np

from zoo.reporting.history import Curve, History
from zoo.reporting.plots import Line, Panel
from zoo.reporting.recorded_run import BITS_PER_BYTE, RecordedRun

_MAIN = {
    "train/loss": ("training loss", "nats per token"),
    BITS_PER_BYTE: ("validation", "bits per byte"),
    "train/lr": ("learning rate", ""),
    "train/grad_norm": ("gradient norm", "before clipping"),
    "train/update_norm": ("update norm", ""),
    "train/param_norm": ("parameter norm", ""),
    "data/batch_size": ("batch size", "sequences"),
    "perf/tokens_per_s": ("speed", "tokens per second"),
}
"""Metrics that every page shows if the run has them, with their titles and units."""
_MORE = {
    "eval/loss": ("validation loss", "nats per token"),
    "train/logit_rms": ("root mean square of the logits", ""),
    "train/z_loss": ("z-loss", "nats per token"),
    "train/skipped": ("updates left out", "1: this step's"),
    "perf/mfu": ("model FLOPs utilization", ""),
    "perf/input_wait_s": ("waiting for a batch", "seconds a step"),
}
"""Metrics that a page shows when it is unfolded; those without a title here follow by name."""
_COUNTERS = ("data/epochs", "data/tokens")
_DEVIATION = "_deviation"
_BY_POSITION = "train/loss_by_position/"
_SMOOTH = ("eval/", "train/lr", "data/", "train/skipped")


def panels(run: RecordedRun) -> tuple[list[Panel], list[Panel]]:
    """Return the panels that every page shows, and those of the other metrics."""
    names = set(run.history.curves) - set(_COUNTERS)
    by_position = sorted(
        (name for name in names if name.startswith(_BY_POSITION)), key=_number_at_the_end
    )
    deviations = sorted(name for name in names if name.endswith(_DEVIATION))
    others = sorted(names - _MAIN.keys() - _MORE.keys() - {*by_position, *deviations})
    main = [_panel(run, name, *words) for name, words in _MAIN.items() if name in names]
    if by_position:
        main.insert(2, _position_panel(run, by_position))
    more = [_panel(run, name, *words) for name, words in _MORE.items() if name in names]
    if deviations:
        more.append(_deviation_panel(run, deviations))
    return main, more + [_panel(run, name, name, "") for name in others]


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
        is_noisy=not name.startswith(_SMOOTH),
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
    return Panel(
        title, "step", unit, lines, levels, _marks(run), shows="usual" if is_speed else "all"
    )


def _deviation_panel(run: RecordedRun, names: list[str]) -> Panel:
    lines = [
        line(run.history, name, name.removeprefix("train/").removesuffix(_DEVIATION), style=style)
        for style, name in enumerate(names)
    ]
    return Panel("distance above the median", "step", "deviations", lines, {}, _marks(run))


def _position_panel(run: RecordedRun, names: list[str]) -> Panel:
    """Return the loss over the position in the sequence: context helps where it falls."""
    curves = [run.history.curves[name] for name in names]
    lines = list(_lines_by_position(curves, run.config.get("seq_len") or len(names)))
    return Panel("training loss by position", "position in the sequence", "nats per token", lines)


def _lines_by_position(curves: list[Curve], seq_len: int) -> Iterator[Line]:
    """Yield the means over the last tenth of the run, a tenth in its middle, and the first."""
    positions = (np.arange(len(curves)) + 0.5) * seq_len / len(curves)
    num_points = len(curves[0].steps)
    tenth = max(1, num_points // 10)
    ends = sorted({num_points, max(tenth, num_points // 2), tenth}, reverse=True)
    for style, end in enumerate(ends):
        losses = [float(curve.means[:end][-tenth:].mean()) for curve in curves]
        first, last = (int(curves[0].steps[i]) for i in (end - tenth, end - 1))
        label = f"step {last:,}" if first == last else f"steps {first:,} to {last:,}"
        yield Line(label, positions, np.array(losses), style=style)


def _marks(run: RecordedRun) -> dict[float, str]:
    marks: dict[float, str] = {}
    for event in run.events:
        step, kind = event.get("step"), event.get("kind", "event")
        if isinstance(step, int):
            marks[step] = f"{kind} at step {step:,}"
    return marks


def _number_at_the_end(name: str) -> int:
    found = re.search(r"\d+$", name)
    return int(found[0]) if found else 0
