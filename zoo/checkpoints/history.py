"""The past of a run, as far as its future depends on it: diverged steps and evaluations."""

import dataclasses
import math
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
    """The events of a run until now, the batches that they cost, and its best evaluation."""

    events: tuple[Event, ...] = ()
    skipped_batches: int = 0
    """Batches that rewinds have left out: step k, counted from 0, reads batch k + this number."""
    best_loss: float | None = None
    """The lowest validation loss until now. None: there is none."""
    best_step: int = 0
    """The step of `best_loss`."""
    worse_evaluations: int = 0
    """Evaluations since then, none of which had a lower loss."""

    def with_event(self, event: Event) -> "History":
        """Return the history with one event more."""
        return dataclasses.replace(self, events=(*self.events, event))

    def with_evaluation(self, step: int, loss: float) -> "History":
        """Return the history with the validation loss after `step`."""
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            return dataclasses.replace(self, best_loss=loss, best_step=step, worse_evaluations=0)
        return dataclasses.replace(self, worse_evaluations=self.worse_evaluations + 1)

    def with_evaluations_of(self, earlier: "History") -> "History":
        """Return the history with the evaluations that `earlier` knows."""
        return dataclasses.replace(
            self,
            best_loss=earlier.best_loss,
            best_step=earlier.best_step,
            worse_evaluations=earlier.worse_evaluations,
        )

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
        others = {name: value for name, value in saved.items() if name != "events"}
        return cls(events, **others)
