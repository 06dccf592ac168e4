"""Studies with a trainer that gives the losses of a law at once."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import configs
from configs.experiment import Experiment
from data.config import Task
from models.config import ConfigError
from models.model import num_params as count
from tests.zoo.scaling_laws.synthetic import TRUE
from zoo.common.errors import WorkdirError
from zoo.scaling_laws.points import read_points
from zoo.scaling_laws.projection import project
from zoo.scaling_laws.sizes import (
    LR_EXPONENT,
    experiment,
    nearest_model,
    num_params,
    of_width,
    peak_lr,
    smallest_of,
)
from zoo.scaling_laws.study import MIN_STEPS, Settings, Study, Trained

LAW = dataclasses.replace(TRUE, A=260.0, B=600.0)
SETTINGS = Settings("llama", (3e12, 1e13, 3e13))


class Killed(Exception):
    """The end of a process in the middle of a study."""


class Trainer:
    """Gives the law's loss; is killed before its run number `dies_at`."""

    def __init__(self, dies_at: int | None = None):
        self.runs: list[tuple[Experiment, Path]] = []
        self.dies_at = dies_at

    def __call__(self, run: Experiment, workdir: Path) -> Trained:
        if len(self.runs) == self.dies_at:
            raise Killed
        self.runs.append((run, workdir))
        loss = LAW.loss(float(num_params(run.model)), float(run.num_tokens))
        return Trained(loss, run.num_tokens / 4e6, 1000.0)


def finish(folder: Path, settings: Settings = SETTINGS) -> tuple[Study, Trainer]:
    study, trainer = Study.open(settings, Task(), folder), Trainer()
    study.train(trainer, lambda line: None)
    return study, trainer


def test_the_runs_spend_their_budget_and_the_fit_finds_the_law(tmp_path):
    study, trainer = finish(tmp_path)
    assert study.is_finished
    assert len({workdir for _, workdir in trainer.runs}) == 15
    for run, (trained, _) in zip(study.runs, trainer.runs, strict=True):
        assert 6 * run.params * run.tokens == pytest.approx(run.budget, rel=0.05)
        assert run.tokens == trained.num_tokens
        assert trained.eval_every == trained.num_steps
    points = read_points(str(tmp_path / "points.csv"))
    assert project(points).exponent == pytest.approx(LAW.exponent, abs=0.01)
    assert study.corpus_tokens == pytest.approx(4e6)
    assert [each.params for each in study.counts()] == points.params.tolist()


def test_each_grid_is_centred_on_what_the_one_before_it_found(tmp_path):
    """The first is centred on 20 tokens per parameter; the law's best size is elsewhere."""
    study, _ = finish(tmp_path)
    first, *later = SETTINGS.budgets
    assert study.centre(first) == pytest.approx(math.sqrt(first / 120))
    best = [LAW.optimum.params(flops) for flops in SETTINGS.budgets]
    distance = abs(math.log(study.centre(first) / best[0]))
    for flops, size in zip(later, best[1:], strict=True):
        assert abs(math.log(study.centre(flops) / size)) < min(0.3, distance)


def test_a_best_size_outside_of_the_grid_moves_the_next_grid_there(tmp_path):
    study = Study.open(SETTINGS, Task(), tmp_path)

    def larger_is_better(run, workdir):
        return Trained(1 / num_params(run.model), 1.0, None)

    study.train(larger_is_better, lambda line: None)
    largest = max(run.params for run in study.runs if run.budget == 3e12)
    assert study.centre(1e13) == pytest.approx(largest * math.sqrt(1e13 / 3e12))


def test_a_killed_study_goes_on_where_it_was_and_ends_the_same(tmp_path):
    whole, _ = finish(tmp_path / "whole")
    with pytest.raises(Killed):
        study = Study.open(SETTINGS, Task(), tmp_path / "killed")
        study.train(Trainer(dies_at=7), lambda line: None)
    resumed, trainer = finish(tmp_path / "killed")
    assert len(trainer.runs) == 8
    assert resumed.runs == whole.runs
    again, trainer = finish(tmp_path / "killed")
    assert trainer.runs == []
    assert again.runs == whole.runs


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"settings": 3, "runs": []}', '{"runs": [{}]}']
)
def test_a_damaged_study_is_an_error_and_stays(content, tmp_path):
    file = tmp_path / "study.json"
    file.write_text(content)
    with pytest.raises(WorkdirError, match="study.json is damaged .*; restore it from a copy"):
        finish(tmp_path)
    assert file.read_text() == content


def test_a_study_of_other_settings_is_not_continued(tmp_path):
    finish(tmp_path)
    other = dataclasses.replace(SETTINGS, seq_len=64)
    with pytest.raises(ConfigError, match="holds a study with seq_len=128, not 64"):
        Study.open(other, Task(), tmp_path)


def test_the_cost_counts_what_is_left(tmp_path):
    study, trainer = Study.open(SETTINGS, Task(), tmp_path), Trainer()
    before = study.cost(trainer)
    assert "15 runs of 2.15e+14 FLOPs (6ND) in all; 2.15e+14 FLOPs are left" in before
    ((run, workdir),) = trainer.runs
    assert (run.num_steps, workdir) == (12, tmp_path / "calibration")
    hours = 2.15e14 / (6 * num_params(run.model) * 1000) / 3600
    assert f"about {hours:.2g} hours at the 1,000 tokens/s" in before
    study.train(trainer, lambda line: None)
    assert "; 0 FLOPs are left" in study.cost(Trainer(dies_at=0))


@pytest.mark.parametrize("family", configs.FAMILIES)
def test_sizes_keep_the_familys_proportions(family):
    small = smallest_of(family).model
    assert of_width(small, small.d_model) == small
    for d_model in (16, 64, 2 * small.d_model):
        model = of_width(small, d_model)
        assert num_params(model) == count(model)
        assert model.num_layers % len(model.attention.windows) == 0
        assert model.feed_forward.kind == small.feed_forward.kind
        assert model.attention.num_kv_heads == small.attention.num_kv_heads
    large = of_width(small, 4 * small.d_model)
    for ratio in (
        lambda m: m.feed_forward.d_ff / m.d_model,
        lambda m: m.num_layers / m.d_model,
        lambda m: m.attention.head_dim / m.d_model,
    ):
        assert ratio(large) == pytest.approx(ratio(small), rel=0.01)
    near = nearest_model(small, 30e6)
    assert num_params(near) == pytest.approx(30e6, rel=0.06)
    run = experiment(smallest_of(family), of_width(small, 64), 1e6, 8, 64, Task())
    assert run.num_tokens == pytest.approx(1e6, rel=0.001)


def test_the_peak_falls_as_in_gpt3s_table_and_not_with_adafactor():
    """LR_EXPONENT is the slope of Table 2.1; PaLM's three sizes share their peak."""
    sizes = configs.FAMILIES["gpt3"].PUBLISHED.values()
    widths = [math.log(each.model.d_model) for each in sizes]
    peaks = [math.log(each.optimizer.schedule.peak_lr) for each in sizes]
    assert np.polyfit(widths, peaks, 1)[0] == pytest.approx(LR_EXPONENT, abs=0.08)
    llama, palm = smallest_of("llama"), smallest_of("palm")
    assert peak_lr(llama, 240) == llama.optimizer.schedule.peak_lr
    assert peak_lr(llama, 16 * 240) == pytest.approx(llama.optimizer.schedule.peak_lr / 8)
    assert peak_lr(palm, 16) == palm.optimizer.schedule.peak_lr
    shared = {e.optimizer.schedule.peak_lr for e in configs.FAMILIES["palm"].PUBLISHED.values()}
    assert len(shared) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "bloom"}, "--family=bloom is not in the zoo; write one of gpt1"),
        ({"budgets": (3e13, 1e13)}, "must rise"),
        ({"budgets": (0.0,)}, "must be numbers above zero"),
        ({"num_sizes": 4}, "--num-sizes=4 must be at least 5"),
        ({"spacing": 1.0}, "--spacing=1 must be above 1"),
        ({"batch_tokens": 100}, "--batch-tokens=100 must be a multiple of --seq-len=128"),
    ],
)
def test_a_mistake_in_the_settings_is_one_message(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_a_budget_of_too_few_steps_is_one_message(tmp_path):
    study = Study.open(dataclasses.replace(SETTINGS, budgets=(1e8,)), Task(), tmp_path)
    with pytest.raises(ConfigError, match=f"1e\\+08 is too small.*{MIN_STEPS} steps of 1,024"):
        study.grid(1e8)
