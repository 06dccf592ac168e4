"""The growth of the batch at the start of a run, as plain data. Standard library only."""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

from data.batches.sizes import BatchSizes, Phase
from models.config import check, check_above_zero


@dataclass(frozen=True, kw_only=True)
class SteppedRamp:
    """A batch that grows in steps: `fractions[i]` of its full size until `until_tokens[i]` tokens.

    A step is never cut: the batch grows after the step that ends nearest to this number of tokens.
    """

    fractions: tuple[float, ...]
    """Share of the full batch in each phase, such as 0.25 0.5."""
    until_tokens: tuple[float, ...]
    """Tokens that the run has seen at the end of each phase."""

    def __post_init__(self):
        check(
            len(self.fractions) == len(self.until_tokens) > 0,
            f"batch_ramp.fractions={self.fractions} and until_tokens={self.until_tokens} must have "
            "one number for each phase; write as many of one as of the other",
        )
        check(
            all(0 < fraction < 1 for fraction in self.fractions),
            f"batch_ramp.fractions={self.fractions} must lie between 0 and 1; write for example "
            "--batch-ramp.fractions 0.25 0.5",
        )
        check(
            all(a < b < math.inf for a, b in pairwise((0, *self.until_tokens))),
            f"batch_ramp.until_tokens={self.until_tokens} must be above zero, finite and in "
            "increasing order; write for example --batch-ramp.until-tokens 1e9 2e9",
        )

    def sizes(self, full_size: int, seq_len: int) -> BatchSizes:
        """Return the sequences of every batch."""
        phases, tokens = [], 0
        for fraction, until_tokens in zip(self.fractions, self.until_tokens, strict=True):
            size = max(1, round(fraction * full_size))
            num_steps = max(0, round((until_tokens - tokens) / (size * seq_len)))
            phases.append((num_steps, size))
            tokens += num_steps * size * seq_len
        return _batch_sizes(phases, full_size)


@dataclass(frozen=True, kw_only=True)
class LinearRamp:
    """A batch that grows linearly with the tokens seen.

    After n tokens the batch is initial + (full - initial) n / ramp_tokens, rounded down to the
    initial batch and a whole number of increments.
    """

    initial_tokens: int
    """Tokens of the first batch; a multiple of seq_len."""
    increment_tokens: int
    """Tokens by which the batch grows at a time; a multiple of seq_len."""
    ramp_tokens: float
    """Tokens that the run has seen when the batch reaches its full size."""

    def __post_init__(self):
        check_above_zero(self, "batch_ramp.", "initial_tokens", "increment_tokens", "ramp_tokens")
        check(
            self.ramp_tokens < math.inf,
            "batch_ramp.ramp_tokens=inf must be finite; write for example "
            "--batch-ramp.ramp-tokens=4e9",
        )

    def sizes(self, full_size: int, seq_len: int) -> BatchSizes:
        """Return the sequences of every batch.

        Raises ConfigError unless the first batch and the increments are whole sequences.
        """
        for name in ("initial_tokens", "increment_tokens"):
            tokens, flag = getattr(self, name), name.replace("_", "-")
            whole_sequences = max(1, min(tokens // seq_len, full_size)) * seq_len
            check(
                tokens == whole_sequences,
                f"batch_ramp.{name}={tokens} must be a multiple of seq_len={seq_len} and at most "
                f"batch_tokens={full_size * seq_len}; write --batch-ramp.{flag}={whole_sequences}",
            )
        initial, increment = self.initial_tokens // seq_len, self.increment_tokens // seq_len
        phases, tokens = [], 0
        for size in range(initial, full_size, increment):
            share = min(1, (size + increment - initial) / (full_size - initial))
            until_tokens = share * self.ramp_tokens
            num_steps = max(0, math.ceil((until_tokens - tokens) / (size * seq_len)))
            phases.append((num_steps, size))
            tokens += num_steps * size * seq_len
        return _batch_sizes(phases, full_size)


def _batch_sizes(phases: list[tuple[int, int]], full_size: int) -> BatchSizes:
    """Return the sizes of batches in (number of steps, size) phases, then of `full_size`."""
    first_steps = accumulate((num_steps for num_steps, _ in phases), initial=0)
    return BatchSizes(
        tuple(
            Phase(first_step, size)
            for (num_steps, size), first_step in zip(
                [*phases, (1, full_size)], first_steps, strict=True
            )
            if num_steps
        )
    )
