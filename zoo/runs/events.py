"""events.jsonl: the events of a run, one JSON object per line."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Self

from zoo.checkpoints.history import Event, History
from zoo.reporting.recorded_run import EVENTS_FILE


class EventsWriter:
    """Append events to the workdir.

    A resumed run first restores the events that its checkpoint knows, so that each is there once.
    """

    def __init__(self, workdir: Path, history: History):
        write_events(workdir, history)
        self._file = (workdir / EVENTS_FILE).open("a", buffering=1)

    def write(self, event: Event) -> None:
        """Write one line."""
        self._file.write(_line(event))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()


def write_events(workdir: Path, history: History) -> None:
    """Write the events of a run's history in place of those that are there."""
    path = workdir / EVENTS_FILE
    partial = path.with_suffix(".partial")
    partial.write_text("".join(map(_line, history.events)))
    os.replace(partial, path)


def _line(event: Event) -> str:
    return json.dumps(dataclasses.asdict(event)) + "\n"
