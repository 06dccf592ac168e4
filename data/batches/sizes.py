"""The number of rows in every training batch. Standard library only."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise


@dataclass(frozen=True)
class Phase:
    """Consecutive batches of the same size."""

    first_step: int
    """The first batch of the phase, counted from 0."""
    size: int
    """Rows of each batch, over all hosts."""


@dataclass(frozen=True)
class BatchSizes:
    """The number of rows in every training batch, which may change from phase to phase.

    The last phase has no end. Raises ValueError unless the first phase begins at step 0 and every
    other one after the phase before it.
    """

    phases: tuple[Phase, ...]

    def __post_init__(self):
        starts = [phase.first_step for phase in self.phases]
        if starts[:1] != [0] or any(b <= a for a, b in pairwise(starts)):
            raise ValueError(f"phases begin at {starts}")

    @classmethod
    def constant(cls, size: int) -> "BatchSizes":
        """Return batches that all have `size` rows."""
        return cls((Phase(0, size),))

    @property
    def largest(self) -> int:
        """The rows of the largest batch."""
        return max(phase.size for phase in self.phases)

    @property
    def smallest(self) -> int:
        """The rows of the smallest batch."""
        return min(phase.size for phase in self.phases)

    def size(self, step: int) -> int:
        """Return the rows of batch `step`, counted from 0."""
        return self.phases[self._number(step)].size

    def before(self, step: int) -> int:
        """Return the rows of all batches before `step`."""
        number = self._number(step)
        phase = self.phases[number]
        return self._rows_before[number] + (step - phase.first_step) * phase.size

    def steps(self, rows: float) -> int:
        """Return the number of batches that hold about `rows` rows: the nearest whole number."""
        number = max(bisect_right(self._rows_before, rows) - 1, 0)
        phase = self.phases[number]
        return phase.first_step + round((rows - self._rows_before[number]) / phase.size)

    def _number(self, step: int) -> int:
        """Return the number of the phase of batch `step`."""
        return bisect_right(self._first_steps, step) - 1

    @cached_property
    def _first_steps(self) -> list[int]:
        return [phase.first_step for phase in self.phases]

    @cached_property
    def _rows_before(self) -> list[int]:
        """Rows of all batches before each phase."""
        rows = [0]
        for phase, following in pairwise(self.phases):
            rows.append(rows[-1] + (following.first_step - phase.first_step) * phase.size)
        return rows
