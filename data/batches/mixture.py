"""Rows of several sources in one training batch, at rates that hold at every step."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from data.batches.batch import ALL, Batch
from data.batches.rows import Rows
from data.batches.sizes import BatchSizes

# Longest cycle. Shares whose common denominator is larger are rounded to multiples of 1 / 10,000.
_MAX_PERIOD = 10_000


@dataclass(frozen=True)
class MixtureSchedule:
    """The source of every draw, from a cycle that repeats.

    After any n draws, each source has been drawn its share of n times, to within one draw.
    """

    shares: tuple[Fraction, ...]
    """Share of each source; they sum to 1."""

    def source_of(self, draws: np.ndarray) -> np.ndarray:
        """Return the number of the source of each of `draws`."""
        return self._cycle[draws % len(self._cycle)]

    def num_before(self, draws: np.ndarray, source: int) -> np.ndarray:
        """Return how often `source` is drawn before each of `draws`."""
        cycles, offset = np.divmod(draws, len(self._cycle))
        return cycles * self._num_before[-1, source] + self._num_before[offset, source]

    @cached_property
    def _cycle(self) -> np.ndarray:
        return balanced_cycle(self.shares)

    @cached_property
    def _num_before(self) -> np.ndarray:
        """[period + 1, num_sources]: how often each source comes before an offset in the cycle."""
        is_source = self._cycle[:, None] == np.arange(len(self.shares))
        return np.concatenate([np.zeros((1, len(self.shares)), int), np.cumsum(is_source, axis=0)])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Rows of several sources in turn; each source has its own epochs.

    The schedule and the orders are computed, so batch k is a pure function of (seed, k).
    """

    sources: Mapping[str, Rows]
    """Rows of each source, by name; all with the same `seq_len` and `sizes`."""
    shares: tuple[Fraction, ...]
    """Share of each source, in the order of `sources`; they sum to 1."""

    @property
    def sizes(self) -> BatchSizes:
        """Rows of every training batch, over all hosts."""
        return self._rows[0].sizes

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Return a training batch; see `Batches`."""
        draws = np.arange(self.sizes.before(step), self.sizes.before(step + 1))[rows]
        source_of = self._schedule.source_of(draws)
        parts, row_numbers = [], []
        for source, source_rows in enumerate(self._rows):
            of_source = np.flatnonzero(source_of == source)
            source_draws = self._schedule.num_before(draws[of_source], source)
            parts.append(source_rows.draws(source_draws.astype(np.uint64)))
            row_numbers.append(of_source)
        order = np.argsort(np.concatenate(row_numbers))
        return {key: np.concatenate([part[key] for part in parts])[order] for key in parts[0]}

    def __len__(self) -> int:
        """Return the number of rows of all sources."""
        return sum(map(len, self._rows))

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """Yield all rows of the first source, then of the next; see `Batches`."""
        for source in self._rows:
            yield from source.eval_batches(batch_size, rows)

    def counters(self, step: int) -> dict[str, float]:
        """Return the epochs and tokens of each source, and all tokens together; see `Batches`."""
        counters: dict[str, float] = {}
        total_tokens = 0
        draws = np.array([self.sizes.before(step)])
        for source, (name, rows) in enumerate(self.sources.items()):
            epochs = int(self._schedule.num_before(draws, source)[0]) / len(rows)
            tokens = round(epochs * rows.num_predictions)
            counters |= {f"data/epochs/{name}": epochs, f"data/tokens/{name}": tokens}
            total_tokens += tokens
        return counters | {"data/tokens": total_tokens}

    @cached_property
    def _rows(self) -> list[Rows]:
        return list(self.sources.values())

    @cached_property
    def _schedule(self) -> MixtureSchedule:
        return MixtureSchedule(self.shares)


def balanced_cycle(shares: tuple[Fraction, ...]) -> np.ndarray:
    """Return the shortest cycle of sources whose every prefix has each share to within one draw.

    The k-th draw of a source with share r must come neither before draw floor(k / r) nor after
    draw ceil((k + 1) / r) - 1, counted from 0. Of the sources that may come, the one that must
    come first is drawn: earliest deadline first keeps all of these bounds (Baruah, Cohen, Plaxton
    and Varvel, "Proportionate progress", 1996).
    """
    counts = _draws_per_cycle(shares)
    period = sum(counts)
    drawn, order = [0] * len(counts), []
    for draw in range(period):
        _, source = min(
            (-(-(drawn[s] + 1) * period // count), s)
            for s, count in enumerate(counts)
            if drawn[s] * period < count * (draw + 1)
        )
        drawn[source] += 1
        order.append(source)
    return np.array(order)


def _draws_per_cycle(shares: tuple[Fraction, ...]) -> list[int]:
    """Return the draws of each source in one cycle: in proportion to its share, at least one."""
    period = math.lcm(*(share.denominator for share in shares))
    if period <= _MAX_PERIOD:
        return [int(share * period) for share in shares]
    return [max(1, round(share * _MAX_PERIOD)) for share in shares]
