"""Rows of several sources in one training batch, at rates that hold at every step."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from data.batches.rows import ALL, Batch, Rows

# Shares with a common denominator up to this are exact; others are rounded to multiples of 1 / it.
_MAX_PERIOD = 10_000


@dataclass(frozen=True)
class Turns:
    """Draw i comes from the source that a fixed cycle names.

    After any number n of draws every source has been drawn its share of n times, to within one draw.

    Attributes:
      shares: of each source; they sum to 1.
    """

    shares: tuple[Fraction, ...]

    def source_of(self, draws: np.ndarray) -> np.ndarray:
        """The number of the source of each of `draws`."""
        return self._cycle[draws % len(self._cycle)]

    def num_before(self, draws: np.ndarray, source: int) -> np.ndarray:
        """How often `source` is drawn before each of `draws`."""
        cycles, place = np.divmod(draws, len(self._cycle))
        return cycles * self._drawn_before[-1, source] + self._drawn_before[place, source]

    @cached_property
    def _cycle(self) -> np.ndarray:
        return cycle(self.shares)

    @cached_property
    def _drawn_before(self) -> np.ndarray:
        """[period + 1, num_sources]: how often each source comes before a place in the cycle."""
        is_source = self._cycle[:, None] == np.arange(len(self.shares))
        return np.concatenate([np.zeros((1, len(self.shares)), int), np.cumsum(is_source, axis=0)])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Rows of several sources that take turns; those of each come in epochs of its own.

    Both are computed, so that batch k is a pure function of (seed, k).

    Attributes:
      sources: rows of each source, by name; with the same `seq_len` and `batch_size`.
      shares: of each source, in the order of `sources`; they sum to 1.
    """

    sources: Mapping[str, Rows]
    shares: tuple[Fraction, ...]

    @property
    def batch_size(self) -> int:
        """Rows of a training batch over all hosts."""
        return self._rows[0].batch_size

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """See `data.batches.rows.Batches`."""
        draws = np.arange(step * self.batch_size, (step + 1) * self.batch_size)[rows]
        source_of = self._turns.source_of(draws)
        parts, places = [], []
        for source, source_rows in enumerate(self._rows):
            place = np.flatnonzero(source_of == source)
            numbers = self._turns.num_before(draws[place], source)
            parts.append(source_rows.draws(numbers.astype(np.uint64)))
            places.append(place)
        order = np.argsort(np.concatenate(places))
        return {key: np.concatenate([part[key] for part in parts])[order] for key in parts[0]}

    def __len__(self) -> int:
        """Rows of all sources."""
        return sum(map(len, self._rows))

    def eval_batches(self, batch_size: int, rows: slice = ALL) -> Iterator[Batch]:
        """All rows of the first source, then of the next; see `data.batches.rows.Batches`."""
        for source in self._rows:
            yield from source.eval_batches(batch_size, rows)

    def counters(self, step: int) -> dict[str, float]:
        """See `data.batches.rows.Batches`: for each source, and the tokens together."""
        found: dict[str, float] = {}
        draws = np.array([step * self.batch_size])
        for source, (name, rows) in enumerate(self.sources.items()):
            epochs = int(self._turns.num_before(draws, source)[0]) / len(rows)
            found[f"data/epochs/{name}"] = epochs
            found[f"data/tokens/{name}"] = round(epochs * rows.num_predictions)
        tokens = sum(value for key, value in found.items() if key.startswith("data/tokens/"))
        return found | {"data/tokens": tokens}

    @cached_property
    def _rows(self) -> list[Rows]:
        return list(self.sources.values())

    @cached_property
    def _turns(self) -> Turns:
        return Turns(self.shares)


def cycle(shares: tuple[Fraction, ...]) -> np.ndarray:
    """The shortest cycle of source numbers in which every prefix has each source's share to within one.

    The k-th draw of a source with share r must not come before draw floor(k / r) and not after
    draw ceil((k + 1) / r) - 1, counted from 0. Of the sources that may come, the one that must
    come first is drawn: earliest deadline first keeps all of these bounds (Baruah, Cohen, Plaxton
    and Varvel, "Proportionate progress", 1996).
    """
    counts = _counts(shares)
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


def _counts(shares: tuple[Fraction, ...]) -> list[int]:
    """Draws of each source in a cycle: in proportion, at least one."""
    period = math.lcm(*(share.denominator for share in shares))
    if period <= _MAX_PERIOD:
        return [int(share * period) for share in shares]
    return [max(1, round(share * _MAX_PERIOD)) for share in shares]
