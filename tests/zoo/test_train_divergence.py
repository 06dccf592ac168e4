"""Runs with injected faults: a batch whose loss is not a number, under each policy."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from configs.experiment import Divergence, Experiment
from data.batches.readers import ComputedReader
from zoo.checkpoints import checkpoint, recovery
from zoo.common.errors import CheckpointError, DivergedError
from zoo.reporting.recorded_run import read_events
from zoo.train import train

REWIND = Divergence(action="rewind", rewind_steps=2, skip_batches=4, attempts=2)
train_batch = ComputedReader.train_batch


@pytest.fixture
def experiment(nano_experiment) -> Experiment:
    """A run of 12 steps that is saved at every third."""
    return dataclasses.replace(nano_experiment, num_steps=12, eval_every=6)


@pytest.fixture
def poison(monkeypatch) -> Callable[..., None]:
    """Make some batches, numbered from 0, give a loss that is not a number."""

    def choose(is_poisoned: Callable[[int], bool]) -> None:
        def poisoned(reader: ComputedReader, step: int, rows: slice):
            batch = train_batch(reader, step, rows)
            if is_poisoned(step):
                batch["weights"] = np.full_like(batch["weights"], np.nan)
            return batch

        monkeypatch.setattr(ComputedReader, "train_batch", poisoned)

    return choose


def with_policy(experiment: Experiment, policy: Divergence, num_steps: int = 12) -> Experiment:
    return dataclasses.replace(experiment, divergence=policy, num_steps=num_steps)


def test_rewind_is_the_run_that_began_at_the_checkpoint_with_later_batches(
    experiment, poison, monkeypatch, tmp_path, losses
):
    poison(lambda batch: batch == 7)
    once = train(with_policy(experiment, REWIND), tmp_path / "once")
    assert once.events == {"rewind": 1}
    (event,) = read_events(tmp_path / "once")
    assert (event["step"], event["kind"]) == (8, "rewind")
    assert (event["numbers"]["to_step"], event["numbers"]["skipped_batches"]) == (6, 4)

    for num_steps in (7, 9, 12):  # 7: a checkpoint of a stop, just before the spike
        train(with_policy(experiment, REWIND, num_steps), tmp_path / "pieces")
    assert read_events(tmp_path / "pieces") == read_events(tmp_path / "once")
    history = checkpoint.read_history(checkpoint.find(tmp_path / "pieces"))
    assert history.skipped_batches == 4
    assert history == checkpoint.read_history(checkpoint.find(tmp_path / "once"))

    monkeypatch.setattr(
        ComputedReader,
        "train_batch",
        lambda reader, step, rows: train_batch(reader, step if step < 6 else step + 4, rows),
    )
    train(experiment, tmp_path / "reference")
    reference = {row["step"]: row["train/loss"] for row in losses(tmp_path / "reference")}
    for name in ("once", "pieces"):
        assert {row["step"]: row["train/loss"] for row in losses(tmp_path / name)} == reference
    num_tokens = losses(tmp_path / "once")[-1]["data/tokens"]
    # Batches that are left out count as read; the last of an epoch holds some padding.
    assert num_tokens == pytest.approx((12 + 4) * experiment.batch_tokens, rel=0.01)


def test_rewinds_that_do_not_help_end_with_an_error(experiment, poison, tmp_path):
    poison(lambda batch: batch >= 7)
    # Step 8 goes back to 6, step 7 to 3, and after step 4 the attempts are used up.
    with pytest.raises(DivergedError, match=r"step 4: .*, also after 2 rewinds; .*checkpoints/3;"):
        train(with_policy(experiment, REWIND), tmp_path)
    assert [event["kind"] for event in read_events(tmp_path)] == ["rewind", "rewind", "abort"]
    assert checkpoint.saved_steps(tmp_path) == [3]


def test_a_spike_before_the_first_checkpoint_goes_back_to_the_start(experiment, poison, tmp_path):
    poison(lambda batch: batch == 1)
    result = train(with_policy(experiment, REWIND, 3), tmp_path)
    assert result.events == {"rewind": 1}
    assert read_events(tmp_path)[0]["numbers"]["to_step"] == 0
    assert [row["step"] for row in result.metrics] == [1, 2, 3]


def test_skip_counts_leaves_no_trace_in_the_weights_and_replays(
    experiment, poison, tmp_path, losses
):
    policy = Divergence(action="skip")
    poison(lambda batch: batch == 4)
    once = train(with_policy(experiment, policy), tmp_path / "once")
    assert once.events == {"skip": 1}
    for num_steps in (5, 7, 12):
        train(with_policy(experiment, policy, num_steps), tmp_path / "pieces")
    assert read_events(tmp_path / "pieces") == read_events(tmp_path / "once")
    rows, pieces = (losses(tmp_path / name) for name in ("once", "pieces"))
    assert [row["train/loss"] for row in rows if row["step"] != 5] == [
        row["train/loss"] for row in pieces if row["step"] != 5
    ]
    assert rows[-1]["train/loss_deviation"] == pieces[-1]["train/loss_deviation"]
    assert "train/loss" not in rows[4]
    assert rows[4]["train/skipped"] == 1


def test_abort_names_the_last_good_checkpoint_from_which_a_lower_rate_resumes(
    experiment, poison, tmp_path
):
    poison(lambda batch: batch == 7)
    with pytest.raises(DivergedError, match=r"step 8: .*checkpoints/6; .*peak-lr=0\.005"):
        train(experiment, tmp_path)
    assert [event["kind"] for event in read_events(tmp_path)] == ["abort"]
    assert checkpoint.saved_steps(tmp_path) == [3, 6]
    poison(lambda batch: False)
    schedule = dataclasses.replace(experiment.optimizer.schedule, peak_lr=0.005)
    optimizer = dataclasses.replace(experiment.optimizer, schedule=schedule)
    resumed = train(dataclasses.replace(experiment, optimizer=optimizer), tmp_path)
    assert resumed.step == 12
    assert read_events(tmp_path) == []


def test_a_rewind_to_a_damaged_checkpoint_is_refused_and_deletes_nothing(
    experiment, poison, monkeypatch, tmp_path
):
    verified = []

    def verify(folder: Path) -> None:
        verified.append(folder.name)
        raise CheckpointError(f"{folder} is damaged")

    monkeypatch.setattr(recovery, "verify", verify)
    poison(lambda batch: batch == 7)
    run = dataclasses.replace(with_policy(experiment, REWIND), keep=3)
    with pytest.raises(CheckpointError, match="checkpoints/6 is damaged"):
        train(run, tmp_path)
    assert verified == ["6"]
    assert checkpoint.saved_steps(tmp_path) == [3, 6]
