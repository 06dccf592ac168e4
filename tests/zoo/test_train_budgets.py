"""The end of a run: budgets in tokens, FLOPs, epochs and hours, and patience."""

import dataclasses
import itertools
import json
from fractions import Fraction

import pytest

import configs
from configs.experiment import Experiment, Mesh, SteppedRamp
from data.config import Files, Mixture, Part
from models.config import ConfigError
from models.flops import train_flops_palm
from models.transformer import num_params
from zoo.checkpoints import checkpoint
from zoo.common.errors import StoppedError
from zoo.distribution.devices import resolve_dtype
from zoo.runs import loop
from zoo.runs.budget import Epochs, Flops, Tokens, from_flags
from zoo.train import train


@pytest.fixture
def experiment(corpus_glob) -> Experiment:
    """A run of the smallest model on 30 small files."""
    palm = configs.get("palm_nano")
    return dataclasses.replace(
        palm,
        model=dataclasses.replace(palm.model, vocab_size=400),
        data=dataclasses.replace(palm.data, source=Files(corpus_glob)),
        num_steps=6,
        eval_every=1,
        save_every=2,
    )


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
        assert saved == dataclasses.replace(resolve_dtype(run), num_steps=num_steps)


def test_an_epoch_reads_every_sequence_once(experiment, tmp_path):
    result = train(dataclasses.replace(experiment, eval_every=1000), tmp_path, budget=Epochs(0.05))
    assert result.step > 1
    epochs = [row["data/epochs"] for row in result.metrics]
    per_step = epochs[0]
    assert epochs[-1] == pytest.approx(0.05, abs=per_step / 2)


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
    assert stopped.value.exit_code == 7
    assert checkpoint.saved_steps(tmp_path / "pieces") == [1]
    assert train(experiment, tmp_path / "pieces").evaluation == whole.evaluation
    assert losses(tmp_path / "pieces") == losses(tmp_path / "whole")


@pytest.fixture
def rising_loss(monkeypatch) -> None:
    """Make the validation loss fall until step 2, and rise from there."""

    def evaluate_run(setup, state) -> dict[str, float]:
        loss = 1.0 + abs(int(state.step) - 2)
        return {"eval/loss": loss, "eval/bits_per_byte": loss}

    monkeypatch.setattr(loop, "evaluate_run", evaluate_run)


def test_a_run_ends_when_its_validation_loss_no_longer_falls(experiment, rising_loss, tmp_path):
    impatient = dataclasses.replace(experiment, patience=2, num_steps=100)
    result = train(impatient, tmp_path)
    assert result.step == 4
    assert checkpoint.saved_steps(tmp_path) == [2, 4]
    assert checkpoint.find(tmp_path, step="best").name == "2"
    again = train(impatient, tmp_path)
    assert (again.step, again.evaluation) == (4, result.evaluation)
    more = train(dataclasses.replace(impatient, patience=4), tmp_path)
    assert more.step == 6


def test_patience_counts_over_interruptions(experiment, rising_loss, tmp_path):
    impatient = dataclasses.replace(experiment, patience=3, save_every=1, num_steps=100)
    for num_steps in itertools.count(1):
        result = train(dataclasses.replace(impatient, num_steps=num_steps), tmp_path)
        if result.step < num_steps:
            break
    assert result.step == 5


def test_the_log_says_which_micro_batches_were_chosen(experiment, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("zoo.runs.setup.bytes_per_device", lambda: 0.005 * 2**30)
    auto = dataclasses.replace(experiment, num_steps=1, micro_batches="auto", mesh=Mesh())
    train(auto, tmp_path / "auto")
    assert "micro-batches: " in capsys.readouterr().err
    saved = json.loads((tmp_path / "auto" / "config.json").read_text())
    assert saved["micro_batches"] > 1
    train(dataclasses.replace(experiment, num_steps=1), tmp_path / "one")
    one, sliced = (
        checkpoint.read_run(checkpoint.find(tmp_path / name)).experiment.batch_size
        for name in ("one", "auto")
    )
    assert one == sliced
