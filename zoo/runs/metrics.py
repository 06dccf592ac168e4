"""The records of a run: metrics.jsonl and what the trackers keep."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from zoo.reporting.history import METRICS_FILE
from zoo.reporting.trackers import TensorBoard, Tracker


class MetricsWriter:
    """Append to the records of a run: metrics.jsonl, TensorBoard and any other trackers.

    A resumed run first drops the rows after its first step, so that every step is recorded once.
    """

    def __init__(self, workdir: Path, *, first_step: int, trackers: Sequence[Tracker] = ()):
        path = workdir / METRICS_FILE
        partial = path.with_suffix(".partial")
        with partial.open("w") as file:
            for row in _rows(workdir):
                if row["step"] <= first_step:
                    file.write(json.dumps(row) + "\n")
        os.replace(partial, path)
        self._file = path.open("a", buffering=1)
        self._trackers: list[Tracker] = [TensorBoard(workdir, first_step), *trackers]

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Write one line, and give the trackers the same numbers."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        for tracker in self._trackers:
            tracker.metrics(step, metrics)

    def write_text(self, name: str, text: str, step: int) -> None:
        """Give the trackers a text."""
        for tracker in self._trackers:
            tracker.text(step, name, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del error, traceback
        self._file.close()
        for tracker in self._trackers:
            tracker.close(failed=kind is not None)


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """Read the rows of metrics.jsonl, without lines that a crash has cut short or damaged."""
    return list(_rows(workdir))


def _rows(workdir: Path) -> Iterator[dict[str, float]]:
    path = workdir / METRICS_FILE
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row
