"""A workdir as it lies on the disk, read without JAX: of a run that has ended or still trains."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import configs
from configs.experiment import Experiment
from models.config import ConfigError
from models.parameters import params_by_part
from zoo.common.errors import WorkdirError
from zoo.common.serialize import from_json, to_json
from zoo.reporting.history import History, read_history
from zoo.reporting.record import FINISHED, RunRecord, read_record

CONFIG_FILE, SAMPLES_FOLDER, EVENTS_FILE = "config.json", "samples", "events.jsonl"
BITS_PER_BYTE = "eval/bits_per_byte"
TOKENS = "data/tokens"


@dataclass(frozen=True)
class RecordedRun:
    """The config, the record and the curves of a workdir."""

    workdir: Path
    config: dict[str, Any]
    """config.json, in the form of this version if it can be read as such."""
    record: RunRecord
    history: History

    @cached_property
    def experiment(self) -> Experiment | None:
        """The config as an experiment; None if an incompatible version wrote it."""
        try:
            return from_json(self.config)
        except ConfigError:
            return None

    @property
    def status(self) -> str:
        """A phrase: "finished", "under way", or why it ended."""
        if not self.record.starts:
            return "ended or under way (no run.json)"
        start = self.record.starts[-1]
        if start.is_running:
            return "under way"
        return start.outcome or "killed: its process is gone and left no message"

    @property
    def is_running(self) -> bool:
        """True if the newest process of the run is still at work."""
        return bool(self.record.starts) and self.record.starts[-1].is_running

    @property
    def is_finished(self) -> bool:
        """True if the run has ended by itself."""
        return self.status == FINISHED

    @property
    def num_params(self) -> int | None:
        """Exact number of parameters."""
        if self.experiment is None:
            return None
        return sum(params_by_part(self.experiment.model).values())

    @property
    def flops_per_token(self) -> float | None:
        """Training FLOPs per token by PaLM's convention."""
        return None if self.experiment is None else self.experiment.train_flops_per_token

    @property
    def num_steps(self) -> int | None:
        """The steps that the run is to take."""
        return self.config.get("num_steps")

    @property
    def base(self) -> str | None:
        """The model of the zoo that the run started from; None if its name does not tell."""
        models = configs.MODELS | configs.CONTRAST_MODELS
        return self.record.name if self.record.name in models else None

    def samples(self) -> list[tuple[int, str]]:
        """Return the samples with their steps, oldest first.

        A sample after the newest step is of a past from which the run has gone back.
        """
        folder = self.workdir / SAMPLES_FOLDER
        files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        return [
            (int(file.stem), _read_text(file))
            for file in files
            if file.stem.isdecimal() and int(file.stem) <= self.history.step
        ]

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Return the lines of events.jsonl: objects with `step`, `kind` and `message`."""
        return read_events(self.workdir)


def _read_text(path: Path) -> str:
    """Return the text of a file of the run, "" if there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_events(workdir: Path) -> list[dict[str, Any]]:
    """Read the lines of events.jsonl, without one that is half written; [] if nothing happened."""
    path = workdir / EVENTS_FILE
    events = []
    for line in _read_text(path).splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def read_run(workdir: Path, history: History | None = None) -> RecordedRun:
    """Read a workdir.

    Args:
      history: its curves, if the caller has read them already.

    Raises WorkdirError if the folder holds no run.
    """
    config = _read_config(workdir)
    record = read_record(workdir) or RunRecord(name=workdir.absolute().name)
    return RecordedRun(workdir, config, record, history or read_history(workdir))


def _read_config(workdir: Path) -> dict[str, Any]:
    path = workdir / CONFIG_FILE
    if not workdir.is_dir():
        raise WorkdirError(f"{workdir} is not a folder; name the --workdir of a run")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkdirError(
            f"{workdir} holds no run: it has no {CONFIG_FILE}; name the --workdir of a run, not a "
            "folder in it or above it"
        ) from None
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} cannot be read: {error}; name another run") from error
    if not isinstance(config, dict):
        raise WorkdirError(f"{path} is not the config of a run; name another run")
    try:
        return to_json(from_json(config))
    except ConfigError:
        return config
