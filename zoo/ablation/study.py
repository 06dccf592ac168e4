"""A study in a folder: the runs that are finished, and the next ones to make.

`study.json` holds the settings and the finished runs; each run is an ordinary workdir.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.experiment import Experiment
from configs.studies.study import AblationStudy
from models.config import ConfigError, check
from zoo.ablation.choices import AXES
from zoo.ablation.designs import START, Variant, label, variants
from zoo.ablation.equal import train_flops_per_token
from zoo.ablation.sweep import FIRST, best_place, next_places
from zoo.ablation.variants import Variants
from zoo.common.errors import WorkdirError
from zoo.common.folders import writing
from zoo.common.serialize import to_json
from zoo.reporting.record import write_whole

STUDY_FILE = "study.json"
SWEEP_SEED = 0
"""The seed of all sweeps; the runs that are compared have 1, 2 and so on."""
MAY_DIFFER = {"choices", "designs", "seeds", "max_doublings"}
"""Settings that a resumed study may change: they add runs and change none."""


@dataclass(frozen=True)
class Trained:
    """The part of a training result that a study keeps."""

    bits_per_byte: float | None
    """On the whole validation text; None: the run diverged."""
    tokens_per_s: float | None
    """None if no step was timed, as in a run that was resumed after its last step."""
    seconds: float
    """Time of the whole run, its start and evaluation included."""
    curve: tuple[tuple[int, float], ...]
    """Steps, and nats per token of the training text."""
    device: str


@dataclass(frozen=True)
class Run:
    """A finished run."""

    variant: tuple[str, ...]
    """The choices taken from the end."""
    place: int
    """Its place in the sweep."""
    seed: int
    peak_lr: float
    workdir: str
    trained: Trained

    @property
    def key(self) -> tuple[Variant, int, int]:
        """The variant, the place and the seed."""
        return frozenset(self.variant), self.place, self.seed


@dataclass(frozen=True)
class Planned:
    """A run to make."""

    variant: Variant
    place: int
    seed: int

    @property
    def key(self) -> tuple[Variant, int, int]:
        """The variant, the place and the seed."""
        return self.variant, self.place, self.seed


@dataclass(frozen=True)
class Study:
    """A study with its finished runs, in the order in which they were made."""

    settings: AblationStudy
    folder: Path
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def open(cls, settings: AblationStudy, folder: Path) -> "Study":
        """Return the study in the folder, or a new one.

        Raises ConfigError if it has other settings, or variants that cannot be built; WorkdirError
        if it is damaged.
        """
        file, runs = folder / STUDY_FILE, []
        if file.exists():
            saved, runs = _read(file)
            new = settings_json(settings)
            for name in sorted(new.keys() - MAY_DIFFER):
                check(
                    saved.get(name) == new[name],
                    f"{folder} holds a study with {name}={saved.get(name)}, not {new[name]}; undo "
                    "the change or choose another --workdir",
                )
        study = cls(settings, folder, runs)
        for variant in study.variants:
            study.made.run(variant)
        for run in runs:
            study.check_peak(run)
        return study

    def check_peak(self, run: Run) -> None:
        """Raise ConfigError if the models of the zoo have other peaks than when the run was made.

        Runs of choices that are not in this study are not looked at.
        """
        variant, place, seed = run.key
        if variant <= set(self.choices):
            peak = self.made.run_with(variant, place, seed).optimizer.schedule.peak_lr
            check(
                math.isclose(peak, run.peak_lr),
                f"{self.folder} holds a run of `{self.label(variant)}` with a peak of "
                f"{run.peak_lr:g}, which would be {peak:g} today: {self.settings.start} or "
                f"{self.settings.end} has changed; choose another --workdir",
            )

    @cached_property
    def made(self) -> Variants:
        """The runs of all variants."""
        return Variants(self.settings)

    @cached_property
    def choices(self) -> list[str]:
        """The choices that the study takes from the end."""
        return self.made.choices

    @cached_property
    def variants(self) -> list[Variant]:
        """The variants of all designs, the start first."""
        return variants(self.settings.designs, self.choices)

    def label(self, variant: Variant) -> str:
        """Return the name of a variant."""
        return label(variant, self.choices)

    def sweep(self, variant: Variant) -> dict[int, float | None]:
        """Return the scores of a variant's sweep by place."""
        return {run.place: run.trained.bits_per_byte for run in self.runs_of_sweep(variant)}

    def runs_of_sweep(self, variant: Variant) -> list[Run]:
        """Return the runs of a variant's sweep."""
        return [run for run in self.runs if run.key == (variant, run.place, SWEEP_SEED)]

    def places_left(self, variant: Variant) -> list[int]:
        """Return the places of a variant's sweep that can be tried now; none if it has ended."""
        return next_places(self.sweep(variant), self.settings.max_doublings)

    def runs_of(self, variant: Variant) -> list[Run] | None:
        """Return the runs of all seeds at the best peak; None if one is not finished."""
        if self.places_left(variant):
            return None
        place = best_place(self.sweep(variant))
        by_key = {run.key: run for run in self.runs}
        keys = [(variant, place, seed) for seed in self.seeds]
        return [by_key[key] for key in keys] if all(key in by_key for key in keys) else None

    @property
    def seeds(self) -> range:
        """The seeds of the runs that are compared."""
        return range(SWEEP_SEED + 1, SWEEP_SEED + 1 + self.settings.seeds)

    def ready(self) -> Iterator[Planned]:
        """Yield the runs that can be made now.

        A variant's seeds wait for its sweep, and a sweep goes further only where it has to. All
        other variants wait for the start, whose seeds show the noise.
        """
        finished = {run.key for run in self.runs}
        first = self.variants if self.runs_of(START) else [START]
        for variant in first:
            places = self.places_left(variant)
            planned = [Planned(variant, place, SWEEP_SEED) for place in places]
            if not places:
                best = best_place(self.sweep(variant))
                planned = [Planned(variant, best, seed) for seed in self.seeds]
            yield from (each for each in planned if each.key not in finished)

    @property
    def num_left(self) -> int:
        """Runs that are left, if no sweep goes further than it has to now."""
        finished = {run.key for run in self.runs}
        left = 0
        for variant in self.variants:
            places = self.places_left(variant)
            left += len(places)
            best = None if places else best_place(self.sweep(variant))
            left += sum((variant, best, seed) not in finished for seed in self.seeds)
        return left

    @property
    def num_first(self) -> int:
        """Runs of the whole study, if no sweep goes further than its first peaks."""
        return len(self.variants) * (len(FIRST) + self.settings.seeds)

    def experiment(self, planned: Planned) -> Experiment:
        """Return the run to make."""
        return self.made.run_with(planned.variant, planned.place, planned.seed)

    def workdir(self, planned: Planned) -> Path:
        """Return the folder of a run: its choices, its place in the sweep and its seed.

        It does not depend on the other choices of the study, nor on their order.
        """
        choices = "+".join(c for c in AXES if c in planned.variant) or "start"
        return self.folder / choices / f"peak{planned.place:+d}-seed{planned.seed}"

    def record(self, planned: Planned, trained: Trained) -> Run:
        """Keep a finished run, and write the study."""
        peak = self.experiment(planned).optimizer.schedule.peak_lr
        workdir = str(self.workdir(planned).relative_to(self.folder))
        named = tuple(choice for choice in self.choices if choice in planned.variant)
        run = Run(named, planned.place, planned.seed, peak, workdir, trained)
        self.runs.append(run)
        self.write()
        return run

    def write(self) -> None:
        """Write study.json, whole or not at all."""
        state = {
            "settings": settings_json(self.settings),
            "runs": [asdict(run) for run in self.runs],
        }
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / STUDY_FILE, json.dumps(state) + "\n")

    def flops_per_run(self) -> float:
        """Return the training FLOPs of a run of the start: those of all, if they are held equal."""
        start = self.made.run(START)
        return float(train_flops_per_token(start.model, start.seq_len)) * start.num_tokens


def settings_json(settings: AblationStudy) -> dict[str, Any]:
    """Return the settings as JSON values."""
    values = asdict(settings) | {"source": to_json(settings.source)}
    return json.loads(json.dumps(values))


def _read(file: Path) -> tuple[dict[str, Any], list[Run]]:
    """Return the settings and the finished runs of study.json. Raises WorkdirError if damaged."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        return dict(saved["settings"]), [_run(run) for run in saved["runs"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise WorkdirError(
            f"{file} is damaged ({error!r}); restore it from a copy, or choose another --workdir"
        ) from error


def _run(saved: dict[str, Any]) -> Run:
    """Return a run of study.json. Raises TypeError or ValueError if a field is not of its type."""
    trained = dict(saved["trained"])
    curve = tuple((int(step), float(loss)) for step, loss in trained["curve"])
    bits = trained["bits_per_byte"]
    return Run(
        variant=tuple(map(str, saved["variant"])),
        place=int(saved["place"]),
        seed=int(saved["seed"]),
        peak_lr=float(saved["peak_lr"]),
        workdir=str(saved["workdir"]),
        trained=Trained(**{
            **trained, "curve": curve, "bits_per_byte": None if bits is None else float(bits),
        }),
    )  # fmt: skip
