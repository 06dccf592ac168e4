"""The recipes that families share (their numbers stand in the tests of the families)."""

import dataclasses

import pytest

import configs
from configs import recipes


@pytest.mark.parametrize(("family", "size"), [("gpt3", "6.7b"), ("jurassic1", "7.5b")])
def test_gpt3s_recipe_fills_the_models_context(family: str, size: str):
    model = configs.get(f"{family}_{size}").model
    run = recipes.gpt3(model, batch_size=1024, peak_lr=1.2e-4, ramp_tokens=9e9)
    published = configs.get(f"{family}_{size}")
    assert dataclasses.replace(run, data=published.data) == published
    shorter = dataclasses.replace(model, context_length=1024)
    half = recipes.gpt3(shorter, batch_size=1024, peak_lr=1.2e-4, ramp_tokens=9e9)
    assert half.seq_len == 1024
    assert half.num_tokens == pytest.approx(run.num_tokens, rel=1e-5)


def test_gpt2_differs_from_gpt3s_recipe_only_in_the_end_of_the_cosine_and_the_execution():
    run = configs.get("gpt2_124m")
    gpt3s = recipes.gpt3(
        run.model, batch_size=512, peak_lr=6e-4, ramp_tokens=None, decay_tokens=None
    )
    assert dataclasses.replace(gpt3s, execution=run.execution) == run


def test_fine_tuning_takes_short_sequences_and_a_low_peak():
    for name, seq_len in (("gpt1_117m", 512), ("llama_7b", 1024)):
        run = recipes.fine_tuning(configs.get(name).model)
        assert run.seq_len == seq_len
        assert run.batch_size == 16
        assert run.optimizer.schedule.peak_lr == 2e-5
