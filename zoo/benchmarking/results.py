"""Results, and the file to which each is appended and in which the next finds its predecessor."""

import datetime
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DataError
from models.model import num_params
from zoo.benchmarking.figures import Figures
from zoo.benchmarking.spread import Spread
from zoo.benchmarking.workload import CONVENTION, Workload
from zoo.common.errors import WorkdirError


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measurement, of the zoo alone or in turn with another library."""

    model: str
    workload: Workload
    hardware: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    repeats: int
    figures: Figures
    against: str | None
    their_figures: Figures | None
    bandwidths: tuple[float, ...]
    """Bytes per second of the memory, if they were measured."""

    @property
    def key(self) -> str:
        """A digest of all that two results must share to be compared: the work and the hardware."""
        experiment = self.workload.experiment
        execution = experiment.execution
        shared = [self.workload.what, self.model, num_params(experiment.model), self.against]
        shared += [self.workload.describe(), experiment.num_micro_batches]
        shared += [execution.remat, execution.unroll, self.hardware]
        described = json.dumps(shared, sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def ratio(self, name: str) -> Spread | None:
        """Return how many times better the zoo's figure is; None without the other's."""
        if self.their_figures is None or name not in self.their_figures:
            return None
        return self.figures[name].times_better(self.their_figures[name])

    def to_json(self) -> dict[str, Any]:
        """Return the object that --json prints and the file keeps."""
        figures = {}
        for name, figure in self.figures.items():
            figures[name] = {"zoo": figure.to_json()}
            ratio = self.ratio(name)
            if self.their_figures is not None and ratio is not None:
                figures[name][str(self.against)] = self.their_figures[name].to_json()
                figures[name]["ratio"] = ratio._asdict()
        return {
            "what": self.workload.what,
            "model": self.model,
            "workload": self.workload.describe(),
            "key": self.key,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": self.commit,
            "hardware": self.hardware,
            "versions": self.versions,
            "repeats": self.repeats,
            "against": self.against,
            "flops_convention": CONVENTION,
            "bytes_per_drawn_token": self.workload.bytes_per_drawn_token
            if self.workload.what == "decode"
            else None,
            "memory_bytes_per_s": list(self.bandwidths) or None,
            "figures": figures,
        }


@dataclass(frozen=True)
class Change:
    """A result compared with the newest earlier one of the same workload and hardware."""

    figure: str
    ratio: float
    """The number of times by which the figure is better now."""
    is_slowdown: bool
    """True if the quartiles of now and then do not overlap, and now is worse."""
    since: dict[str, Any]
    """The time, commit and versions of the earlier result."""


class ResultsFile:
    """A file of results, one JSON object a line."""

    def __init__(self, path: Path):
        """Read the file if there is one.

        Raises DataError for a line that is no result.
        """
        self._path = path
        self._results: list[dict[str, Any]] = []
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--results={path} cannot be read: {error}; name another") from error
        for number, line in enumerate(lines, start=1):
            try:
                result = json.loads(line)
                _check(result)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"--results={path}, line {number}, is not a result of zoo.bench; delete the "
                    "line, or name another file"
                ) from error
            self._results.append(result)

    def change(self, result: Result) -> Change | None:
        """Return how the result differs from its newest predecessor; None if it is the first."""
        earlier = [each for each in self._results if each["key"] == result.key]
        if not earlier:
            return None
        name, figure = next(iter(result.figures.items()))
        then = earlier[-1]["figures"][name]["zoo"]
        before, now = then["median"], figure.spread.median
        return Change(
            figure=name,
            ratio=before / now if figure.better == "lower" else now / before,
            is_slowdown=figure.is_worse_than(then["low"], then["high"]),
            since={key: earlier[-1][key] for key in ("time", "commit", "versions")},
        )

    def append(self, result: dict[str, Any]) -> None:
        """Add a line. Raises WorkdirError if the file cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        except OSError as error:
            raise WorkdirError(
                f"--results={self._path} cannot be written: {error.strerror or error}; name "
                "another file"
            ) from error
        self._results.append(result)


def _check(result: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError unless the object can be compared with a result."""
    for key in ("key", "time", "commit", "versions"):
        _ = result[key]
    for figure in result["figures"].values():
        for key in ("median", "low", "high"):
            if not isinstance(figure["zoo"][key], int | float):
                raise TypeError(key)
