"""The end of a run: budgets in tokens, FLOPs, epochs and hours, and patience."""

import dataclasses
import itertools
import json
import random
import string
from fractions import Fraction
from pathlib import Path

import pytest

from configs.experiment import Experiment, Mesh
from configs.parts.batch_ramps import SteppedRamp
from data.config import Files, Mixture, Part
from models.config import ConfigError
from models.flops import train_flops_palm
from models.model import num_params
from zoo.checkpoints import checkpoint
from zoo.common.errors import StoppedError
from zoo.distribution.devices import choose_attention, resolve_dtype
from zoo.runs import loop
from zoo.runs.budget import Epochs, Flops, Tokens, from_flags
from zoo.runs.metrics import read_metrics
from zoo.train import train


@pytest.fixture
def experiment(nano_experiment) -> Experiment:
    """A run of six steps that is evaluated after each."""
    return dataclasses.replace(nano_experiment, eval_every=1, save_every=2)


def test_budgets_become_steps_that_the_schedule_follows(experiment, tmp_path):
    flops = train_flops_palm(experiment.model, num_params(experiment.model), experiment.seq_len)
    ramp = SteppedRamp(fractions=(1 / 2,), until_tokens=(4 * experiment.seq_len,))
    grows = dataclasses.replace(experiment, batch_ramp=ramp)
    tokens = experiment.batch_tokens
    for number, (run, budget, num_steps) in enumerate(
        [
            (experiment, Tokens(1.1 * tokens), 1),
            (experiment, Flops(2 * tokens * flops), 2),
            (grows, Tokens(tokens), 1 + round((tokens - tokens / 2) / tokens)),
        ]
    ):
        workdir = tmp_path / str(number)
        assert train(run, workdir, budget=budget).step == num_steps
        saved = checkpoint.read_run(checkpoint.find(workdir)).experiment
        resolved, _ = choose_attention(resolve_dtype(run), {"sequence": 1})
        assert saved == dataclasses.replace(resolved, num_steps=num_steps)


def test_an_epoch_is_as_many_steps_as_its_sequences_fill(experiment, tmp_path):
    run = dataclasses.replace(
        experiment,
        data=dataclasses.replace(experiment.data, source=Files(short_text(tmp_path))),
        eval_every=1000,
        save_every=1000,
    )
    result = train(run, tmp_path / "run", budget=Epochs(1))
    assert result.step > 1
    epochs = [row["data/epochs"] for row in result.metrics]
    assert epochs[-1] == pytest.approx(1, abs=epochs[0] / 2)


def short_text(folder: Path) -> str:
    """Return the glob of a text of few sequences."""
    draws = random.Random(0)
    words = ["".join(draws.choices(string.ascii_lowercase, k=6)) for _ in range(300)]
    (folder / "text.txt").write_text(" ".join(draws.choices(words, k=2000)))
    return str(folder / "*.txt")


def test_a_mixture_has_no_epochs(experiment, corpus_glob, tmp_path):
    half = corpus_glob.replace("*", "0*")
    parts = tuple(Part(Files(glob), rate=Fraction(1)) for glob in (corpus_glob, half))
    mixture = dataclasses.replace(experiment.data, source=Mixture(parts))
    with pytest.raises(ConfigError, match="epochs of their own.*write --num-tokens"):
        train(dataclasses.replace(experiment, data=mixture), tmp_path, budget=Epochs(1))


def test_flags_name_one_budget():
    assert from_flags(None, None, None) is None
    assert from_flags(5.0, None, None) == Tokens(5.0)
    assert from_flags(None, 5.0, None) == Flops(5.0)
    assert from_flags(None, None, 5.0) == Epochs(5.0)
    with pytest.raises(ConfigError, match="--num-tokens and --num-epochs are budgets of one run"):
        from_flags(1.0, None, 2.0)
    with pytest.raises(ConfigError, match="--num-flops=-1 must be above zero"):
        from_flags(None, -1.0, None)


def test_the_time_of_a_run_ends_with_its_state_saved_and_the_same_run_resumes(
    experiment, tmp_path, losses
):
    whole = train(experiment, tmp_path / "whole")
    with pytest.raises(StoppedError, match="--max-hours is over: saved step 1 of 6") as stopped:
        train(experiment, tmp_path / "pieces", max_hours=1e-9)
    assert stopped.value.exit_code == 76
    assert checkpoint.saved_steps(tmp_path / "pieces") == [1]
    assert train(experiment, tmp_path / "pieces").evaluation == whole.evaluation
    assert losses(tmp_path / "pieces") == losses(tmp_path / "whole")


@pytest.fixture
def rising_loss(monkeypatch) -> None:
    """Make the validation loss fall until step 3, and rise from there."""

    def evaluate_run(setup, state) -> dict[str, float]:
        loss = 1.0 + abs(int(state.step) - 3)
        return {"eval/loss": loss, "eval/bits_per_byte": loss}

    monkeypatch.setattr(loop, "evaluate_run", evaluate_run)


def test_a_run_ends_when_its_validation_loss_no_longer_falls(experiment, rising_loss, tmp_path):
    impatient = dataclasses.replace(experiment, patience=2, num_steps=100)
    result = train(impatient, tmp_path)
    assert result.step == 5
    # The best was no step at which the run would have saved.
    assert checkpoint.saved_steps(tmp_path) == [3, 4, 5]
    assert checkpoint.find(tmp_path, step="best").name == "3"
    again = train(impatient, tmp_path)
    assert (again.step, again.evaluation) == (5, result.evaluation)
    more = train(dataclasses.replace(impatient, patience=4), tmp_path)
    assert more.step == 7


def test_patience_counts_over_interruptions(experiment, rising_loss, tmp_path):
    impatient = dataclasses.replace(experiment, patience=3, save_every=1, num_steps=100)
    for num_steps in itertools.count(1):
        result = train(dataclasses.replace(impatient, num_steps=num_steps), tmp_path)
        if result.step < num_steps:
            break
    assert result.step == 6


def test_the_log_says_which_micro_batches_were_chosen(experiment, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("zoo.runs.devices.bytes_per_device", lambda: 0.005 * 2**30)
    auto = dataclasses.replace(experiment, num_steps=1, micro_batches="auto", mesh=Mesh())
    train(auto, tmp_path / "auto")
    assert "micro-batches: " in capsys.readouterr().err
    saved = json.loads((tmp_path / "auto" / "config.json").read_text())
    assert saved["micro_batches"] > 1
    one = train(dataclasses.replace(experiment, num_steps=1), tmp_path / "one")
    loss = one.metrics[0]["train/loss"]
    assert read_metrics(tmp_path / "auto")[0]["train/loss"] == pytest.approx(loss, rel=2e-5)
