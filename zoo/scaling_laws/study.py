"""An isoFLOP study: a grid of sizes for each budget, trained one by one, resumable at any point.

`study.json` holds the settings and the finished runs; each run is an ordinary workdir.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from configs.experiment import Experiment
from data.config import Source
from models.config import ConfigError, ModelConfig, check
from zoo.common.errors import WorkdirError
from zoo.common.folders import writing
from zoo.reporting.record import write_whole
from zoo.scaling_laws.conventions import Counts
from zoo.scaling_laws.isoflop import fit_parabola
from zoo.scaling_laws.law import FLOPS_PER_PARAM_AND_TOKEN
from zoo.scaling_laws.points import COLUMNS, MIN_PER_BUDGET, Points
from zoo.scaling_laws.sizes import (
    WIDTH_STEP,
    experiment,
    nearest_model,
    num_params,
    of_width,
    smallest_of,
)

STUDY_FILE, POINTS_FILE = "study.json", "points.csv"
TOKENS_PER_PARAM = 20
"""The centre of the first budget's grid, about Chinchilla's; later ones follow what was found."""
MIN_STEPS = 10
"""Steps of a run, at the least: with fewer, rounding to whole steps would move its FLOPs by more
than a twentieth."""
CALIBRATION_STEPS = 12
"""Steps of the run that measures the speed of this machine."""


@dataclass(frozen=True)
class Settings:
    """The grid of a study. A resumed study has the same."""

    family: str
    budgets: tuple[float, ...]
    """Training FLOPs (6ND) of a run of each budget, rising."""
    num_sizes: int = 5
    spacing: float = 1.6
    """Ratio of the parameters of neighbouring sizes."""
    vocab_size: int = 512
    seq_len: int = 128
    batch_tokens: int = 1024
    text: str = "stdlib"
    """The text, as messages name it."""

    def __post_init__(self):
        smallest_of(self.family)
        budgets = ",".join(f"{budget:g}" for budget in self.budgets)
        check(
            len(self.budgets) > 0 and all(0 < budget < float("inf") for budget in self.budgets),
            f"--budgets={budgets} must be numbers above zero; write for example --budgets=3e12",
        )
        check(
            list(self.budgets) == sorted(set(self.budgets)),
            f"--budgets={budgets} must rise: each grid is centred on what the one before it found",
        )
        check(
            self.num_sizes >= MIN_PER_BUDGET,
            f"--num-sizes={self.num_sizes} must be at least {MIN_PER_BUDGET}, for a parabola",
        )
        check(
            self.seq_len > 0 and self.batch_tokens > 0 and self.batch_tokens % self.seq_len == 0,
            f"--batch-tokens={self.batch_tokens} must be a multiple of --seq-len={self.seq_len}",
        )
        check(self.spacing > 1, f"--spacing={self.spacing:g} must be above 1; write --spacing=1.6")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {**asdict(self), "budgets": list(self.budgets)}


@dataclass(frozen=True)
class Run:
    """One finished run."""

    budget: float
    d_model: int
    params: int
    tokens: int
    loss: float
    """Nats per token on the whole validation text."""
    epochs: float
    """Passes over the training text."""
    tokens_per_s: float | None
    """None if the run was resumed after its last step."""
    workdir: str


@dataclass(frozen=True)
class Trained:
    """The part of a training result that a study needs."""

    loss: float
    epochs: float
    tokens_per_s: float | None


Trainer = Callable[[Experiment, Path], Trained]
"""Trains in a workdir, and resumes the run that is there."""


@dataclass(frozen=True)
class Study:
    """A study in a folder."""

    settings: Settings
    source: Source
    folder: Path
    runs: list[Run]
    """The finished runs, in the order in which they were trained."""

    @classmethod
    def open(cls, settings: Settings, source: Source, folder: Path) -> "Study":
        """Return the study in the folder, or a new one.

        Raises ConfigError if it has other settings, WorkdirError if it is damaged or cannot be
        written.
        """
        file, runs = folder / STUDY_FILE, []
        if file.exists():
            saved, runs = _read(file)
            for field in fields(settings):
                old, new = saved.get(field.name), settings.to_json()[field.name]
                check(
                    old == new,
                    f"{folder} holds a study with {field.name}={old}, not {new}; undo the change "
                    "or choose another --workdir",
                )
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return cls(settings, source, folder, runs)

    def centre(self, budget: float) -> float:
        """Return the parameters in the middle of a budget's grid.

        The best size of the last finished budget, in proportion to the square root of the FLOPs; if
        it lies outside of that grid, the size at that end.
        """
        done = [each for each in self.settings.budgets if each < budget]
        if not done:
            return float(np.sqrt(budget / FLOPS_PER_PARAM_AND_TOKEN / TOKENS_PER_PARAM))
        points = self.points(done[-1])
        parabola = fit_parabola(points)
        lowest = float(points.params[points.loss.argmin()])
        best = parabola.params if parabola.is_bracketed else lowest
        return best * float(np.sqrt(budget / done[-1]))

    def grid(self, budget: float) -> list[Experiment]:
        """Return the runs of a budget. Raises ConfigError if one would have too few steps.

        Sizes that are the same model after rounding to a width become the next widths.
        """
        s = self.settings
        base = smallest_of(s.family)
        small = _with_text_sizes(base.model, s)
        offsets = np.arange(s.num_sizes) - (s.num_sizes - 1) / 2
        centre, models = self.centre(budget), []
        for size in centre * s.spacing**offsets:
            model = nearest_model(small, float(size))
            if models and model.d_model <= models[-1].d_model:
                model = of_width(small, models[-1].d_model + WIDTH_STEP)
            models.append(model)
        runs = []
        for model in models:
            params = num_params(model)
            num_tokens = budget / (FLOPS_PER_PARAM_AND_TOKEN * params)
            check(
                num_tokens >= MIN_STEPS * s.batch_tokens,
                f"--budgets={budget:g} is too small: {params:,} parameters would be trained on "
                f"{num_tokens:,.0f} tokens, less than {MIN_STEPS} steps of {s.batch_tokens:,}; "
                "write larger budgets, or a smaller --vocab-size or --batch-tokens",
            )
            batch_size = s.batch_tokens // s.seq_len
            runs.append(experiment(base, model, num_tokens, batch_size, s.seq_len, self.source))
        return runs

    @property
    def is_finished(self) -> bool:
        """True if every run is."""
        return len(self.runs) == len(self.settings.budgets) * self.settings.num_sizes

    def remaining(self) -> Iterator[tuple[float, Experiment, Path]]:
        """Yield the budget, the experiment and the workdir of each run that is not finished.

        A budget's grid is made when the runs before it are finished.
        """
        for budget in self.settings.budgets:
            for run in self.grid(budget):
                workdir = self.folder / f"{budget:.3g}" / f"d{run.model.d_model}"
                if str(workdir.relative_to(self.folder)) not in {r.workdir for r in self.runs}:
                    yield budget, run, workdir

    def train(self, trainer: Trainer, report: Callable[[str], None]) -> None:
        """Train every run that is not finished, and write it down."""
        total = len(self.settings.budgets) * self.settings.num_sizes
        for budget, run, workdir in self.remaining():
            params = num_params(run.model)
            report(
                f"run {len(self.runs) + 1} of {total}: {budget:.3g} FLOPs, {params:,} parameters, "
                f"{run.num_tokens:,} tokens, d_model {run.model.d_model}"
            )
            result = trainer(run, workdir)
            name = str(workdir.relative_to(self.folder))
            self.runs.append(
                Run(budget, run.model.d_model, params, run.num_tokens, result.loss, result.epochs,
                    result.tokens_per_s, name)
            )  # fmt: skip
            self.write()

    def cost(self, trainer: Trainer) -> str:
        """Return a sentence on what is left to train, in FLOPs and in hours of this machine.

        The speed is that of the last finished run, or of a few steps of the first budget's middle
        size.
        """
        s = self.settings
        total = s.num_sizes * sum(s.budgets)
        left = total - sum(run.budget for run in self.runs)
        sentence = f"{s.num_sizes * len(s.budgets)} runs of {total:.3g} FLOPs (6ND) in all"
        known = [(run.params, run.tokens_per_s) for run in self.runs if run.tokens_per_s]
        if not known:
            run = self.grid(s.budgets[0])[s.num_sizes // 2]
            few = {"num_steps": CALIBRATION_STEPS, "eval_every": 1000, "save_every": 1000}
            result = trainer(replace(run, **few, log_every=1), self.folder / "calibration")
            known = [(num_params(run.model), result.tokens_per_s)]
        params, tokens_per_s = known[-1]
        if tokens_per_s is None:
            return sentence
        hours = left / (FLOPS_PER_PARAM_AND_TOKEN * params * tokens_per_s) / 3600
        return (
            f"{sentence}; {left:.3g} FLOPs are left, about {hours:.2g} hours at the "
            f"{tokens_per_s:,.0f} tokens/s of {params:,} parameters, besides compilation"
        )

    def write(self) -> None:
        """Write study.json and points.csv, each whole or not at all."""
        with writing(self.folder):
            state = {"settings": self.settings.to_json(), "runs": [asdict(r) for r in self.runs]}
            write_whole(self.folder / STUDY_FILE, json.dumps(state, indent=2) + "\n")
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([run.params, run.tokens, run.loss] for run in self.runs)
            write_whole(self.folder / POINTS_FILE, text.getvalue())

    def points(self, budget: float | None = None) -> Points:
        """Return the finished runs, of one budget or of all."""
        runs = [run for run in self.runs if budget in (None, run.budget)]
        return Points.of(
            [run.params for run in runs], [run.tokens for run in runs], [run.loss for run in runs]
        )

    def counts(self) -> list[Counts]:
        """Return the counts of each finished run's model."""
        small = _with_text_sizes(smallest_of(self.settings.family).model, self.settings)
        seq_len = self.settings.seq_len
        return [Counts.of(of_width(small, run.d_model), seq_len) for run in self.runs]

    @property
    def corpus_tokens(self) -> float:
        """Tokens of the training text. Raises ConfigError if no run is finished."""
        if not self.runs:
            raise ConfigError("no run is finished")
        return self.runs[-1].tokens / self.runs[-1].epochs


def _read(file: Path) -> tuple[dict[str, Any], list[Run]]:
    """Return the settings and the finished runs of study.json. Raises WorkdirError if damaged."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        return dict(saved["settings"]), [Run(**run) for run in saved["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkdirError(
            f"{file} is damaged ({error!r}); restore it from a copy, or choose another --workdir"
        ) from error


def _with_text_sizes(model: ModelConfig, settings: Settings) -> ModelConfig:
    return replace(model, vocab_size=settings.vocab_size, context_length=settings.seq_len)
