"""Studies whose effects are known: a trainer that knows the score of every variant."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.experiment import Experiment
from configs.studies.study import AblationStudy
from zoo.ablation.choices import taken
from zoo.ablation.study import Study, Trained
from zoo.ablation.workers import train_all

BASE = 2.0
STUDY = AblationStudy(
    start="gpt1_nano",
    end="llama_nano",
    designs=("from_start", "from_end", "path"),
    choices=("norm", "position", "feed_forward", "optimizer"),
    vocab_size=512,
    seq_len=64,
    batch_tokens=512,
    num_tokens=51_200,
)


class Killed(Exception):
    """The end of a process in the middle of a study."""


class Trainer:
    """Scores a run: its choices' effects, the distance of its peak from the best, and noise.

    A pair of choices, "a x b", has an effect if both are taken.
    """

    def __init__(
        self,
        study: Study,
        effects: Mapping[str, float] | None = None,
        *,
        noise: float = 0.0,
        seed: int = 0,
        best_peak: float = 1.0,
        dies_at: int | None = None,
        diverges_above: float = math.inf,
    ):
        """`best_peak`: of every variant, in units of its first peak."""
        self.study, self.effects, self.noise, self.seed = study, effects or {}, noise, seed
        self.best_peak, self.dies_at, self.diverges_above = best_peak, dies_at, diverges_above
        self.runs: list[tuple[Experiment, Path]] = []

    def __call__(self, run: Experiment, workdir: Path) -> Trained:
        if len(self.runs) == self.dies_at:
            raise Killed
        self.runs.append((run, workdir))
        made = self.study.made
        variant = frozenset(c for c in self.study.choices if taken(run, made.end, c) == run)
        centre = made.run(variant).optimizer.schedule.peak_lr
        peak = run.optimizer.schedule.peak_lr / centre
        score = BASE + run.seed / 10 + 0.3 * math.log2(peak / self.best_peak) ** 2
        for name, effect in self.effects.items():
            score += effect * (set(name.split(" x ")) <= variant)
        stream = np.random.default_rng([self.seed, run.seed, *map(ord, workdir.parent.name)])
        score += self.noise * stream.normal()
        bits = None if peak > self.diverges_above else score
        return Trained(bits, 1000.0, 50.0, ((1, 4.0), (100, score)), "nothing")


def finish(folder: Path, settings: AblationStudy = STUDY, **trainer) -> tuple[Study, Trainer]:
    """Make every run of a study with one trainer."""
    study = Study.open(settings, folder)
    trained = Trainer(study, **trainer)
    train_all(study, [trained], lambda run: None)
    return study, trained


def with_choices(*choices: str, **changes) -> AblationStudy:
    """STUDY with other choices."""
    return replace(STUDY, choices=choices, **changes)
