"""Readers: training batches in order, and the state that resumes them exactly."""

from dataclasses import dataclass
from typing import Protocol

from data.batches.batch import ALL, Batch, Batches
from data.text.corpus import SavedFiles


class Reader(Protocol):
    """A source of training batches that knows its position in the text."""

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Return this host's `rows` of batch `step`."""
        ...

    def discard(self, step: int, rows: slice = ALL) -> None:
        """Leave out batch `step`, the next one, of which this host has `rows`."""
        ...

    def counters(self, step: int) -> dict[str, float]:
        """Return the epochs and tokens, without padding, that the first `step` batches hold."""
        ...

    def state(self, step: int) -> SavedFiles:
        """Return the files from which this host, given `step`, resumes after `step` batches."""
        ...

    def close(self) -> None:
        """End the processes that encode for this reader."""
        ...


@dataclass(frozen=True)
class ComputedReader:
    """A Reader of batches that are a pure function of their number."""

    batches: Batches

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Return this host's `rows` of batch `step`."""
        return self.batches.train_batch(step, rows)

    def discard(self, step: int, rows: slice = ALL) -> None:
        """Do nothing: any batch can be read."""

    def counters(self, step: int) -> dict[str, float]:
        """Return epochs and tokens; see `Batches`."""
        return self.batches.counters(step)

    def state(self, step: int) -> SavedFiles:
        """Return nothing: the step alone determines the next batch."""
        del step
        return {}

    def close(self) -> None:
        """Do nothing: there are no processes to end."""
