"""The events of a run: the steps that diverged, and what was done about them."""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["spike", "skip", "rewind", "abort"]
"""spike: a warning. skip: the update was left out. rewind: the run went back. abort: it ended."""


@dataclass(frozen=True)
class Event:
    """One event; a line of events.jsonl."""

    step: int
    """The step that diverged, counted from 1."""
    kind: Kind
    message: str
    numbers: dict[str, float | None]
    """The measurements of the step, None where one is not finite, and what the action did."""


@dataclass(frozen=True)
class History:
    """The events of a run until now, and the batches that they cost."""

    events: tuple[Event, ...] = ()
    skipped_batches: int = 0
    """Batches that rewinds have left out: step k, counted from 0, reads batch k + this number."""

    def with_event(self, event: Event) -> "History":
        """Return the history with one event more."""
        return dataclasses.replace(self, events=(*self.events, event))

    def counts(self) -> dict[str, int]:
        """Return the number of events of every kind that there is."""
        return dict(Counter(event.kind for event in self.events))

    def of_kind(self, kind: Kind) -> list[Event]:
        """Return the events of a kind, in order."""
        return [event for event in self.events if event.kind == kind]

    def to_json(self) -> dict[str, Any]:
        """Return the history as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "History":
        """Return the history that `to_json` wrote; {} is that of a run without events."""
        events = tuple(Event(**event) for event in saved.get("events", ()))
        return cls(events, saved.get("skipped_batches", 0))
