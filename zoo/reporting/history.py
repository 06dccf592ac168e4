"""The curves of a run, read from metrics.jsonl while it grows, and thinned to stay small."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

METRICS_FILE = "metrics.jsonl"
MAX_POINTS = 2_000
"""Points that a curve keeps. With more, neighbours become one point: their mean and their range."""
_MAX_NEW = 8_192
"""Values that a curve takes before it merges them into its points."""
_READ_BYTES = 1 << 24


class Curve:
    """One metric over the steps, in at most MAX_POINTS points.

    A value at or before the newest step replaces what lies after it: the run has gone back.
    """

    def __init__(self):
        self.steps_per_point = 1
        self._points = np.zeros((5, 0))  # last step, count, sum, lowest and highest value
        self._new: list[np.ndarray] = []  # more of them, not yet merged
        self._num_new = 0
        self._last_step = -math.inf
        self.last = math.nan
        """The newest value."""

    def extend(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Append values whose steps increase."""
        if steps[0] <= self._last_step:
            kept = self._merge()
            self._points = kept[:, kept[0] < steps[0]]
        self._last_step, self.last = float(steps[-1]), float(values[-1])
        self._new.append(np.stack([steps, np.ones_like(steps), values, values, values]))
        self._num_new += len(steps)
        if self._num_new > _MAX_NEW:
            self._merge()

    @property
    def steps(self) -> np.ndarray:
        """[points] the last step of each point."""
        return self._merge()[0]

    @property
    def means(self) -> np.ndarray:
        """[points] the mean of the values in each point."""
        points = self._merge()
        return points[2] / points[1]

    @property
    def lows(self) -> np.ndarray:
        """[points] the lowest value in each point."""
        return self._merge()[3]

    @property
    def highs(self) -> np.ndarray:
        """[points] the highest value in each point."""
        return self._merge()[4]

    def _merge(self) -> np.ndarray:
        if self._new:
            self._points = np.concatenate([self._points, *self._new], axis=1)
            self._new, self._num_new = [], 0
            self._points = _merged(self._points, self.steps_per_point)
            while self._points.shape[1] > MAX_POINTS:
                self.steps_per_point *= 2
                self._points = _merged(self._points, self.steps_per_point)
        return self._points


def _merged(points: np.ndarray, steps_per_point: int) -> np.ndarray:
    bins = (points[0] - 1) // steps_per_point
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    reductions = (np.maximum, np.add, np.add, np.minimum, np.maximum)
    return np.stack([f.reduceat(row, starts) for f, row in zip(reductions, points, strict=True)])


class History:
    """All curves of a run, by the name of the metric."""

    def __init__(self):
        self.curves: dict[str, Curve] = {}
        self.step = 0
        """The newest step that has a row."""

    def extend(self, rows: list[dict[str, Any]]) -> None:
        """Append rows of metrics.jsonl. Values that are no finite numbers have no place."""
        for part in _increasing(rows):
            self.step = part[-1]["step"]
            steps = np.array([row["step"] for row in part], dtype=float)
            for name in set().union(*part) - {"step"}:
                values = _numbers([row.get(name) for row in part])
                finite = np.isfinite(values)
                if finite.any():
                    self.curves.setdefault(name, Curve()).extend(steps[finite], values[finite])

    def last(self, name: str) -> float | None:
        """Return the newest value of a metric."""
        return self.curves[name].last if name in self.curves else None

    def median(self, name: str) -> float | None:
        """Return the median of the curve's points."""
        return float(np.median(self.curves[name].means)) if name in self.curves else None

    def best(self, name: str) -> tuple[int, float] | None:
        """Return the step and the value at which the metric was lowest."""
        if name not in self.curves:
            return None
        curve = self.curves[name]
        index = int(np.argmin(curve.lows))
        return int(curve.steps[index]), float(curve.lows[index])

    @property
    def steps_per_point(self) -> int:
        """Steps that one point of the longest curve covers; 1 if nothing was thinned."""
        return max((curve.steps_per_point for curve in self.curves.values()), default=1)


class HistoryReader:
    """Read the metrics of a workdir, and later only the rows that were added."""

    def __init__(self, workdir: Path):
        self._path = workdir / METRICS_FILE
        self._offset = 0
        self._last_row = b""  # ends at the offset, unless a run that went back changed the file
        self._history = History()

    def read(self) -> History:
        """Return the history with all complete rows that are in the file by now."""
        if not self._path.is_file():
            return self._history
        with self._path.open("rb") as file:
            file.seek(self._offset - len(self._last_row))
            if file.read(len(self._last_row)) != self._last_row:
                self._offset, self._last_row, self._history = 0, b"", History()
            file.seek(self._offset)
            while block := file.read(_READ_BYTES):
                block += file.readline()
                whole = block[: block.rfind(b"\n") + 1]  # the last row may still be written
                self._offset += len(whole)
                self._last_row = whole[whole.rfind(b"\n", 0, -1) + 1 :] or self._last_row
                self._history.extend(_rows(whole))
        return self._history


def read_history(workdir: Path) -> History:
    """Return the history of the run in the workdir; without metrics, an empty one."""
    return HistoryReader(workdir).read()


def _increasing(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the longest parts of the rows in which every step is larger than the one before."""
    steps = [row["step"] for row in rows]
    cuts = [i for i in range(1, len(steps)) if steps[i] <= steps[i - 1]]
    for start, end in itertools.pairwise([0, *cuts, len(rows)]):
        if start < end:
            yield rows[start:end]


def _numbers(values: list[Any]) -> np.ndarray:
    """Return the values, NaN for those that are no numbers."""
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        return np.array([v if isinstance(v, int | float) else np.nan for v in values], dtype=float)


def _rows(lines: bytes) -> list[dict[str, Any]]:
    """Return the rows, without those that a crash left cut short."""
    try:
        # One call for all of them is several times faster than one for each.
        rows = json.loads(b"[" + b",".join(lines.splitlines()) + b"]")
    except ValueError:
        rows = [row for line in lines.splitlines() if (row := _row(line)) is not None]
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)]


def _row(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
