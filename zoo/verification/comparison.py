"""The comparison of two runs that should be equal: to the bit, or within a tolerance."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx

from zoo.checkpoints import checkpoint
from zoo.reporting.recorded_run import read_run
from zoo.runs.metrics import read_metrics

Other = TypeVar("Other")


@dataclass(frozen=True)
class Outcome:
    """The part of a finished run that does not depend on its speed."""

    starts: list[int]
    """The first step of each process that trained the run, or of each group of processes."""
    fingerprint: dict[str, Any]
    """Everything that the batches depend on."""
    rows: dict[int, dict[str, float]]
    """The metrics of each step by name, without those of speed."""
    params: dict[str, np.ndarray]
    """The parameters after the last step."""


def read_outcome(workdir: Path, num_steps: int) -> Outcome:
    """Read a run of `num_steps` steps. Raises CheckpointError or WorkdirError if it is damaged."""
    record = read_run(workdir).record
    folder = checkpoint.find(workdir, step=num_steps)
    params = checkpoint.read_params(folder, checkpoint.read_run(folder).experiment)
    return Outcome(
        starts=[start.first_step for start in record.starts],
        fingerprint=record.data_fingerprint,
        rows={
            int(row["step"]): {name: row[name] for name in row if not name.startswith("perf/")}
            for row in read_metrics(workdir)
        },
        params={
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(value)
            for path, value in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(params))
        },
    )


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that are allowed; infinite for what is not compared."""

    metrics: float
    """The relative difference |a - b| / max(|a|, |b|) of a metric at a step."""
    gradients: float
    """The same of the gradient's norm, which rounding changes most: its terms cancel."""
    params: float
    """The difference |a - b| / |a| of all parameters as one vector."""

    def of_metric(self, name: str) -> float:
        """Return the largest difference of the metric `name` that is allowed."""
        if name.startswith("data/"):  # the batches are the same on any mesh
            return 0.0
        if name.endswith("_deviation"):  # in units of how much the last steps vary, if they do
            return math.inf if self.metrics else 0.0
        return self.gradients if name == "train/grad_norm" else self.metrics


EXACT = Tolerance(metrics=0.0, gradients=0.0, params=0.0)


@dataclass(frozen=True)
class Difference:
    """A value that differs."""

    what: str
    """A metric, or an element of a parameter."""
    step: int
    expected: object
    found: object
    size: float
    """The relative difference; infinite for what has none, such as NaN and a number."""
    allowed: float

    def __str__(self) -> str:
        rule = f"{self.allowed:g} is allowed" if self.allowed else "the bits must be equal"
        return (
            f"at step {self.step}, {self.what} is {self.expected} in the reference and "
            f"{self.found} in this run, a relative difference of {self.size:.1e} where {rule}"
        )


@dataclass(frozen=True)
class Compared:
    """One kind of values of a run, compared with those of its reference."""

    count: int
    """Values of the reference."""
    differences: list[Difference]
    """The values that differ, by step; of the parameters only the first, with the size of all."""

    @property
    def largest(self) -> Difference | None:
        """The difference that comes nearest to what is allowed, or goes farthest beyond it."""
        # The smallest float instead of 0, to divide by.
        by = [each.size / max(each.allowed, 5e-324) for each in self.differences]
        return self.differences[by.index(max(by))] if by else None

    @property
    def first_beyond(self) -> Difference | None:
        """The first difference that is not allowed."""
        return next((each for each in self.differences if each.size > each.allowed), None)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that docs/json.md lists."""
        most = self.largest
        return {
            "compared": self.count,
            "largest": 0.0 if most is None else _finite_or(None, most.size),
            "allowed": 0.0 if most is None else most.allowed,
            "what": None if most is None else most.what,
        }


@dataclass(frozen=True)
class RunComparison:
    """A run compared with its reference over all steps."""

    metrics: Compared
    params: Compared

    @property
    def first_beyond(self) -> Difference | None:
        """The first difference that is not allowed."""
        return self.metrics.first_beyond or self.params.first_beyond

    def to_json(self) -> dict[str, Any]:
        """Return the fields that docs/json.md lists for a comparison."""
        return {
            "metrics": self.metrics.to_json(),
            "params": self.params.to_json(),
            "first_difference": None if self.first_beyond is None else str(self.first_beyond),
        }


def compare(
    expected: Outcome, found: Outcome, tolerance: Tolerance, *, num_steps: int, starts: list[int]
) -> RunComparison:
    """Compare a run of `num_steps` steps with its reference.

    Args:
      starts: the first step of each process that must have trained the run.
    """
    metrics = [
        *_of_facts({"start": starts}, {"start": found.starts}),
        *_of_facts(expected.fingerprint, found.fingerprint),
        *_of_metrics(expected.rows, found.rows, num_steps, tolerance),
    ]
    params = list(_of_params(expected.params, found.params, num_steps, tolerance.params))
    return RunComparison(
        Compared(sum(map(len, expected.rows.values())), metrics),
        Compared(sum(value.size for value in expected.params.values()), params),
    )


def _of_facts(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[Difference]:
    for name in sorted(expected | found):
        if expected.get(name) != found.get(name):
            yield Difference(name, 0, expected.get(name), found.get(name), math.inf, 0.0)


def _of_metrics(
    expected: dict[int, dict[str, float]],
    found: dict[int, dict[str, float]],
    num_steps: int,
    tolerance: Tolerance,
) -> Iterator[Difference]:
    for step in range(1, num_steps + 1):
        row, other = expected.get(step), found.get(step)
        if row is None or other is None:
            lines = ["no line" if each is None else "a line" for each in (row, other)]
            yield Difference("metrics.jsonl", step, lines[0], lines[1], math.inf, 0.0)
            continue
        for name in sorted(row | other, key=lambda name: (name != "train/loss", name)):
            a, b, allowed = row.get(name), other.get(name), tolerance.of_metric(name)
            size = relative_difference(a, b)
            if size > 0 and allowed < math.inf:
                yield Difference(name, step, a, b, size, allowed)


def relative_difference(a: float | None, b: float | None) -> float:
    """Return |a - b| / max(|a|, |b|): 0 only for the same bits, inf if there is none."""
    if a is None or b is None:
        return math.inf
    if struct.pack("d", a) == struct.pack("d", b):
        return 0.0
    if a == b:  # 0.0 and -0.0
        return math.ulp(0.0)
    return _finite_or(math.inf, abs(a - b) / max(abs(a), abs(b)))


def _finite_or(other: Other, size: float) -> float | Other:
    return size if math.isfinite(size) else other


def _of_params(
    expected: dict[str, np.ndarray], found: dict[str, np.ndarray], step: int, allowed: float
) -> Iterator[Difference]:
    """Yield the first element that differs, if there is one."""
    first, squares = None, np.zeros(2)  # |a - b|^2 and |a|^2
    for name in sorted(expected | found):
        a, b = expected.get(name), found.get(name)
        if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
            kinds = ["missing" if each is None else f"{each.dtype}{each.shape}" for each in (a, b)]
            yield Difference(f"parameter {name}", step, kinds[0], kinds[1], math.inf, allowed)
            return
        wide = a.astype(np.float64)
        with np.errstate(invalid="ignore"):  # inf - inf
            squares += np.sum((wide - b) ** 2), np.sum(wide**2)
        bits = (each.reshape(-1).view(f"u{a.itemsize}") for each in (a, b))
        differs = np.flatnonzero(np.not_equal(*bits))
        if first is None and differs.size:
            index = np.unravel_index(differs[0], a.shape)
            first = f"parameter {name}[{', '.join(map(str, index))}]", a[index], b[index]
    if first is not None:
        size = float(np.sqrt(squares[0] / squares[1])) if squares[1] else math.inf
        yield Difference(first[0], step, *first[1:], _finite_or(math.inf, size), allowed)
