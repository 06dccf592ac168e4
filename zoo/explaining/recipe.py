"""The training run of one model: its numbers with their sources, and its course over the tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

import configs
from configs.experiment import Experiment
from configs.paper import nearest
from zoo.common.serialize import leaves, to_json
from zoo.explaining.model_card import ModelCard
from zoo.training.schedule import make_schedule

SECTIONS = {
    "Length and batch": ("num_steps", "seq_len", "batch_tokens", "batch_ramp"),
    "Learning rate": ("optimizer.schedule",),
    "Optimizer": ("optimizer",),
    "Loss and dropout": ("z_loss", "model.dropout_rate", "model.embedding_dropout"),
    "Initial values": ("model.init",),
    "Documents and tokens": ("data.packing", "data.vocabulary_style"),
    "Precision": ("param_dtype", "execution.dtype"),
    "Reaction to a diverging step": ("divergence",),
}
"""The parts of a recipe, each with the config fields that belong to it."""

NUM_SAMPLES = 256
_WARNINGS = ("divergence.action", "divergence.window", "divergence.deviations")
"""The fields that count even if a run only warns of a spike."""


@dataclass(frozen=True)
class Setting:
    """One number or word of a recipe."""

    path: str
    """Dotted path in the config, such as `optimizer.beta1`."""
    value: Any
    origin: Literal["paper", "zoo"]
    """The one who chose the value: the paper, or the zoo where the paper gives none."""
    note: str
    """Place in the paper, or the zoo's reason."""
    in_published_sizes: bool
    """False if no size of the paper has the value; then the note is about those sizes."""


@dataclass(frozen=True)
class Course:
    """A run at some of its steps."""

    steps: np.ndarray
    """Numbers of the steps, from 1."""
    tokens: np.ndarray
    """Tokens that the run has seen after the step."""
    rates: np.ndarray
    """Learning rate of the step."""
    batch_tokens: np.ndarray
    """Tokens of the step's batch."""


@dataclass(frozen=True)
class Recipe:
    """All that is known about the training run of one model."""

    card: ModelCard

    @property
    def experiment(self) -> Experiment:
        """The run."""
        return self.card.experiment

    @cached_property
    def settings(self) -> dict[str, list[Setting]]:
        """The settings by the headings of SECTIONS."""
        found: dict[str, list[Setting]] = {}
        for path, value in leaves(to_json(self.experiment)):
            field = nearest(path, [field for fields in SECTIONS.values() for field in fields])
            if field is not None and not self._is_idle(path):
                found.setdefault(field, []).append(self._setting(path, value))
        return {
            heading: [setting for field in fields for setting in found.get(field, [])]
            for heading, fields in SECTIONS.items()
        }

    @cached_property
    def _published(self) -> list[dict[str, Any]]:
        """The values of the sizes in the paper, by path."""
        sizes = configs.module_of(self.card.family).PUBLISHED.values()
        return [dict(leaves(to_json(experiment))) for experiment in sizes]

    def course(self, tokens: Sequence[float] | np.ndarray) -> Course:
        """Return the run at the steps that end nearest to these numbers of tokens."""
        run = self.experiment
        steps = [run.batch_sizes.steps(seen / run.seq_len) for seen in tokens]
        return self._course(np.clip(steps, 1, run.num_steps))

    @property
    def samples(self) -> Course:
        """The run at steps of its whole length: at even distances in tokens, and dense at first."""
        run = self.experiment
        even = np.linspace(0, run.num_tokens, NUM_SAMPLES)
        at_first = np.geomspace(1, run.num_steps, NUM_SAMPLES // 4).round().astype(int)
        steps = np.concatenate([self.course(even).steps, at_first])
        return self._course(np.unique(steps))

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON values. Field names are stable; docs/json.md explains them."""
        card, course = self.card.to_json(), self.samples
        return {
            **{name: card[name] for name in ("model", "family", "paper")},
            "num_steps": self.experiment.num_steps,
            "num_tokens": self.experiment.num_tokens,
            "settings": [
                asdict(setting) for settings in self.settings.values() for setting in settings
            ],
            "curves": {
                "steps": course.steps.tolist(),
                "tokens": course.tokens.tolist(),
                "learning_rates": course.rates.tolist(),
                "batch_tokens": course.batch_tokens.tolist(),
            },
            "mixture": card["mixture"],
            "mixture_source": card["mixture_source"],
        }

    def _course(self, steps: np.ndarray) -> Course:
        run, sizes = self.experiment, self.experiment.batch_sizes
        return Course(
            steps=steps,
            tokens=np.array([sizes.before(int(step)) * run.seq_len for step in steps]),
            rates=np.asarray(make_schedule(run)(steps.astype(np.int32) - 1), np.float64),
            batch_tokens=np.array([sizes.size(int(step) - 1) * run.seq_len for step in steps]),
        )

    def _is_idle(self, path: str) -> bool:
        """Return whether the run has no use for the value."""
        run = self.experiment
        if path == "model.embedding_dropout":
            return not run.model.dropout_rate
        is_reaction = path.startswith("divergence.") and path not in _WARNINGS
        return is_reaction and run.divergence.action == "abort"

    def _setting(self, path: str, value: Any) -> Setting:
        note = self.card.paper.note(path)
        assert note is not None, f"{path} has no source"
        in_published_sizes = any(sizes.get(path, ...) == value for sizes in self._published)
        return Setting(path, value, note.origin, note.text, in_published_sizes)


def groups(settings: Sequence[Setting]) -> Iterator[list[Setting]]:
    """Yield the settings that share a note together, in the order of their notes."""
    by_note: dict[tuple[str, str, bool], list[Setting]] = {}
    for setting in settings:
        key = (setting.origin, setting.note, setting.in_published_sizes)
        by_note.setdefault(key, []).append(setting)
    yield from by_note.values()
