"""Several runs side by side: what differs between their configs, and their final numbers."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scipy import stats

from configs.parts.objectives import loss_unit
from zoo.common.serialize import differences, leaves
from zoo.reporting.config_sources import show_value
from zoo.reporting.record import FINISHED
from zoo.reporting.recorded_run import BITS_PER_BYTE, TOKENS, RecordedRun

_SEEDS = ("seed", "data.seed")
CONFIDENCE = 0.95
MAX_KEYS = 3
"""Config values in a label; of runs that differ in more, a label is the name of the folder."""
_NO_PART_OF_A_RESULT = (
    "mesh",
    "micro_batches",
    "log_every",
    "eval_every",
    "save_every",
    "keep",
    "data.cache_dir",
)
"""Config keys that move no loss beyond rounding, so that no label needs them."""


@dataclass(frozen=True)
class Repeats:
    """Runs of one config that differ in nothing but their seeds."""

    label: str
    scores: tuple[float, ...]
    """Bits per byte at the end of each run."""

    @property
    def mean(self) -> float:
        """The mean score."""
        return statistics.fmean(self.scores)

    @property
    def std(self) -> float:
        """The standard deviation of a score."""
        return statistics.stdev(self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that holds the mean of all seeds with CONFIDENCE, by Student's t."""
        number = len(self.scores)
        quantile = float(stats.t.isf((1 - CONFIDENCE) / 2, number - 1))
        reach = quantile * self.std / math.sqrt(number)
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class Comparison:
    """Runs in the order in which they were named."""

    runs: Sequence[RecordedRun]

    @cached_property
    def differences(self) -> dict[str, list[Any]]:
        """The value of each run by dotted key, for the keys in which two runs differ."""
        first = self.runs[0].config
        keys: dict[str, None] = {}
        for run in self.runs[1:]:
            for key, (old, new) in differences(first, run.config).items():
                keys |= dict.fromkeys(_keys_below(key, old, new))
        return {key: [_at(run.config, key) for run in self.runs] for key in keys}

    @cached_property
    def labels(self) -> list[str]:
        """A short name per run that holds only what differs between the runs."""
        names = [run.record.name for run in self.runs]
        folders = _folder_names([run.workdir.absolute().parts for run in self.runs])
        keys = self._label_keys(names)
        if len(keys) > MAX_KEYS:
            return folders
        short = _short_keys(keys)
        labels = []
        for i, name in enumerate(names):
            parts = [name] if len(set(names)) > 1 else []
            parts += [f"{short[key]} {show_value(self.differences[key][i])}" for key in keys]
            labels.append(", ".join(parts))
        return labels if len(set(labels)) == len(labels) else folders

    def _label_keys(self, names: list[str]) -> list[str]:
        """Return the keys in which two runs of the same name differ, without their settings."""

        def tells_apart(values: list[Any]) -> bool:
            pairs = list(zip(names, map(str, values), strict=True))
            return len(set(pairs)) > len(set(names))

        return [
            key
            for key, values in self.differences.items()
            if tells_apart(values)
            and not any(key == k or key.startswith(f"{k}.") for k in _NO_PART_OF_A_RESULT)
        ]

    @cached_property
    def repeats(self) -> list[Repeats]:
        """The configs of which two runs or more are finished, the best first."""
        groups: dict[str, list[RecordedRun]] = {}
        for run in self.runs:
            if run.status == FINISHED and run.history.last(BITS_PER_BYTE) is not None:
                groups.setdefault(_without_seeds(run), []).append(run)
        repeated = [runs for runs in groups.values() if len(runs) > 1]
        if not repeated:
            return []
        labels = Comparison([runs[0] for runs in repeated]).labels
        found = [
            Repeats(label, tuple(run.history.last(BITS_PER_BYTE) or math.nan for run in runs))
            for label, runs in zip(labels, repeated, strict=True)
        ]
        return sorted(found, key=lambda each: each.mean)

    @cached_property
    def notes(self) -> list[str]:
        """Remarks on numbers that cannot be compared."""
        prints = [run.record.data_fingerprint for run in self.runs]
        if not all(prints):
            return []
        notes = []
        vocabularies = {str(p.get("vocabulary")) for p in prints}
        if len(vocabularies) > 1:
            notes.append("the vocabularies differ: compare bits per byte, not the loss per token")
        texts = {str({k: v for k, v in p.items() if k.startswith("corpus")}) for p in prints}
        if len(texts) > 1:
            notes.append("the texts differ: their validation numbers are of different texts")
        units = [loss_unit(run.experiment.objective) for run in self.runs if run.experiment]
        if len(set(units)) > 1:
            listed = ", ".join(dict.fromkeys(units))
            notes.append(f"the objectives differ: the losses are in {listed}")
        return notes

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values. Field names are stable; see docs/json.md."""
        return {
            "runs": [
                {"label": label, **numbers(run)}
                for label, run in zip(self.labels, self.runs, strict=True)
            ],
            "repeats": [
                {
                    "label": each.label,
                    "bits_per_byte": list(each.scores),
                    "mean": each.mean,
                    "std": each.std,
                    "interval": list(each.interval),
                }
                for each in self.repeats
            ],
            "differences": self.differences,
            "notes": self.notes,
        }


def numbers(run: RecordedRun) -> dict[str, Any]:
    """Return the numbers of a run as JSON values; null where they are not known."""
    history = run.history
    best = history.best(BITS_PER_BYTE)
    tokens = history.last(TOKENS)
    return {
        "workdir": str(run.workdir),
        "name": run.record.name,
        "status": run.status,
        "step": history.step,
        "num_steps": run.num_steps,
        "num_params": run.num_params,
        "tokens": None if tokens is None else int(tokens),
        "bits_per_byte": history.last(BITS_PER_BYTE),
        "best_bits_per_byte": None if best is None else best[1],
        "best_step": None if best is None else best[0],
        "eval_loss": history.last("eval/loss"),
        "train_loss": history.last("train/loss"),
        "tokens_per_s": history.median("perf/tokens_per_s"),
        "wall_s": run.record.wall_s if run.record.starts else None,
    }


def _without_seeds(run: RecordedRun) -> str:
    """Return a key that runs of one config share, whatever their seeds."""
    ignored = (*_SEEDS, *_NO_PART_OF_A_RESULT)
    kept = {
        key: value
        for key, value in leaves(run.config)
        if not any(key == k or key.startswith(f"{k}.") for k in ignored)
    }
    return json.dumps([run.record.name, kept], sort_keys=True)


def _keys_below(key: str, old: Any, new: Any) -> list[str]:
    """Return the key, or the keys of the values in it where one run has a dataclass there."""
    inner = old if isinstance(old, dict) else new
    return [path for path, _ in leaves(inner, key)] if isinstance(inner, dict) else [key]


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config.get("type") if isinstance(config, dict) else config


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return each key's last names, as few as tell the keys apart."""

    def shorten(key: str) -> str:
        parts = key.removesuffix(".type").split(".")
        for count in range(1, len(parts)):
            tail = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{tail}") for other in keys) == 1:
                return tail
        return ".".join(parts)

    return {key: shorten(key) for key in keys}


def _folder_names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the end of each path, as short as tells them apart."""
    longest = max(map(len, paths))
    for count in range(1, longest):
        ends = ["/".join(path[-count:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{'/'.join(path[-1:])} ({number})" for number, path in enumerate(paths, 1)]
