"""Training from a program: `zoo.train.train` is the run of the command."""

import dataclasses
import sys
import threading

import pytest

from configs.experiment import Experiment
from configs.parts.batch_ramps import SteppedRamp
from models.config import ConfigError
from zoo.checkpoints import checkpoint
from zoo.common.errors import DivergedError
from zoo.train import train


@pytest.fixture
def experiment(nano_experiment) -> Experiment:
    """The run of the `nano` flags."""
    return nano_experiment


def test_a_program_trains_as_the_command_does_and_resumes(experiment, trained, tmp_path, losses):
    half = train(dataclasses.replace(experiment, num_steps=3), tmp_path / "run")
    assert half.step == 3
    whole = train(experiment, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(trained.workdir)
    assert whole.step == whole.metrics[-1]["step"] == 6
    assert whole.evaluation["eval/loss"] == whole.metrics[-1]["eval/loss"]
    assert (whole.name, whole.workdir) == ("run", tmp_path / "run")
    assert whole.summary()["eval/loss"] == whole.evaluation["eval/loss"]


def test_a_growing_batch_resumes_exactly_in_every_phase(experiment, tmp_path):
    ramp = SteppedRamp(fractions=(1 / 4, 3 / 8), until_tokens=(256.0, 640.0))
    grows = dataclasses.replace(experiment, batch_ramp=ramp)
    whole = train(grows, tmp_path / "whole")
    assert [row["data/batch_size"] for row in whole.metrics] == [2, 2, 3, 3, 8, 8]
    # Without padding, which an epoch has at its end.
    tokens = [row["data/tokens"] for row in whole.metrics]
    assert tokens == pytest.approx([128, 256, 448, 640, 1152, 1664], rel=0.002)
    for num_steps in (1, 3, 4):
        train(dataclasses.replace(grows, num_steps=num_steps, save_every=1), tmp_path / "parts")
    parts = train(grows, tmp_path / "parts")
    for name in ("train/loss", "train/grad_norm", "train/lr", "data/tokens"):
        assert [row[name] for row in parts.metrics] == [row[name] for row in whole.metrics]
    assert parts.evaluation == whole.evaluation


def test_a_mistake_is_raised_and_no_process_ends(experiment, tmp_path):
    train(dataclasses.replace(experiment, num_steps=1), tmp_path)
    with pytest.raises(ConfigError, match="seed was 0, now 1"):
        train(dataclasses.replace(experiment, seed=1), tmp_path)


def test_hooks_of_the_caller_come_back_also_after_an_error(experiment, tmp_path):
    hooks = threading.excepthook, sys.unraisablehook
    schedule = dataclasses.replace(experiment.optimizer.schedule, peak_lr=1e30)
    optimizer = dataclasses.replace(experiment.optimizer, schedule=schedule)
    with pytest.raises(DivergedError):
        train(dataclasses.replace(experiment, optimizer=optimizer), tmp_path)
    assert (threading.excepthook, sys.unraisablehook) == hooks


def test_fresh_never_deletes_the_weights_to_start_from(experiment, tmp_path):
    train(dataclasses.replace(experiment, num_steps=1), tmp_path)
    again = dataclasses.replace(experiment, init_from=str(tmp_path))
    with pytest.raises(ConfigError, match="where --fresh would delete it"):
        train(again, tmp_path, fresh=True)
    assert checkpoint.saved_steps(tmp_path) == [1]


def test_training_works_in_a_thread_which_gets_no_signals(experiment, tmp_path):
    results = []
    run = dataclasses.replace(experiment, num_steps=1)
    thread = threading.Thread(target=lambda: results.append(train(run, tmp_path)))
    thread.start()
    thread.join()
    assert [result.step for result in results] == [1]
