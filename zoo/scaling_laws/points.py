"""Runs as points: parameters, tokens and the final loss of each, read from a CSV file."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from data.errors import DataError
from models.config import ConfigError, check
from zoo.scaling_laws.law import FLOPS_PER_PARAM_AND_TOKEN

COLUMNS = ("params", "tokens", "loss")
SAME_BUDGET = 0.1
"""Runs whose FLOPs differ by at most this share are of one budget."""
MIN_PER_BUDGET = 5
"""Runs of a budget, at the least: two more than a parabola has coefficients."""


@dataclass(frozen=True)
class Points:
    """Finished runs, one per entry of each array."""

    params: np.ndarray
    """[points] float N, embeddings included."""
    tokens: np.ndarray
    """[points] float D."""
    loss: np.ndarray
    """[points] float nats per token on held-out text."""
    rows: np.ndarray
    """[points] int: number of the run in its file, from 1."""

    @classmethod
    def of(cls, params: ArrayLike, tokens: ArrayLike, loss: ArrayLike) -> "Points":
        """Return the points in the given order, numbered from 1."""
        n, d, losses = (np.asarray(values, float) for values in (params, tokens, loss))
        return cls(n, d, losses, np.arange(1, len(n) + 1))

    def __len__(self) -> int:
        return len(self.loss)

    def __getitem__(self, chosen: np.ndarray) -> "Points":
        """Return the points of an index or a mask."""
        return Points(*(a[chosen] for a in (self.params, self.tokens, self.loss, self.rows)))

    @property
    def flops(self) -> np.ndarray:
        """[points] C = 6ND."""
        return FLOPS_PER_PARAM_AND_TOKEN * self.params * self.tokens

    @property
    def tokens_per_param(self) -> np.ndarray:
        """[points] D / N."""
        return self.tokens / self.params

    @cached_property
    def budget_indices(self) -> list[np.ndarray]:
        """The places of the runs of each compute budget, by rising FLOPs.

        The budget that holds most runs is taken first: the published runs of Chinchilla lie partly
        between its nine budgets. Runs that share a budget with too few others are in none.
        """
        logs, free = np.log(self.flops), np.ones(len(self), bool)
        found: list[np.ndarray] = []
        while free.any():
            ends = logs[free, None] + np.log1p(SAME_BUDGET)
            within = free & (logs >= logs[free, None]) & (logs <= ends)
            most = within[within.sum(1).argmax()]
            if most.sum() < MIN_PER_BUDGET:
                break
            found.append(np.flatnonzero(most))
            free &= ~most
        return sorted(found, key=lambda indices: self.flops[indices].min())

    @property
    def budgets(self) -> "list[Points]":
        """The runs of each compute budget, by rising FLOPs."""
        return [self[indices] for indices in self.budget_indices]

    @property
    def budget_flops(self) -> float:
        """The geometric mean of the runs' FLOPs."""
        return float(np.exp(np.log(self.flops).mean()))


def read_points(path: str) -> Points:
    """Read a CSV file with the columns params, tokens and loss, in any order, among others.

    Raises ConfigError for a missing file or column, DataError for a value that is no number.
    """
    file = Path(path)
    check(file.is_file(), f"--points={path} is not a file; write for example --points=runs.csv")
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        try:
            head = [name.strip() for name in reader.fieldnames or ()]
            table = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"--points={path} is not a CSV file: {error}") from error
    missing = [name for name in COLUMNS if name not in head]
    if missing:
        raise ConfigError(
            f"--points={path} has no column {' and no column '.join(missing)}: its first line is "
            f"{','.join(head)!r}; write a first line with {','.join(COLUMNS)}"
        )
    table = [{(name or "").strip(): value for name, value in row.items()} for row in table]
    values = [[_number(path, i, row, name) for name in COLUMNS] for i, row in enumerate(table, 1)]
    return Points.of(*np.array(values, float).reshape(-1, 3).T)


def _number(path: str, row_number: int, row: dict[str, str | None], name: str) -> float:
    text = row[name]
    try:
        value = float(text or "")
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise DataError(
            f"--points={path}, run {row_number}: {name}={text!r} must be a number above zero"
        )
    return value
