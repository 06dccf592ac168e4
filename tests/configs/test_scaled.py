"""A family's recipe in a smaller budget."""

import dataclasses

import pytest

import configs
from configs.parts.optimizers import InverseSquareRoot, WarmupCosine, WarmupCosineInTokens
from configs.scaled import NANO, SMALL, scaled_down
from models.execution import Execution


@pytest.mark.parametrize("budget", [NANO, SMALL], ids=["nano", "small"])
def test_a_cosine_in_steps_keeps_its_shape(budget):
    gpt1, gopher = configs.get("gpt1_117m"), configs.get("gopher_44m")
    for published, floor, initial_lr in ((gpt1, 0.0, 0.0), (gopher, 0.1, 1e-7 / 6e-4 * 0.5)):
        scaled = scaled_down(published, published.model, budget, peak_lr=0.5)
        assert scaled.optimizer.schedule == WarmupCosine(
            peak_lr=0.5,
            initial_lr=initial_lr,
            warmup_steps=budget.warmup_steps,
            final_fraction=floor,
        )
        assert budget.warmup_steps < scaled.num_steps
        assert scaled.num_tokens == budget.num_tokens


@pytest.mark.parametrize(("name", "end"), [("gpt3_175b", 260 / 300), ("mt_nlg_530b", 340 / 270)])
def test_a_cosine_in_tokens_ends_at_the_same_share_of_the_run(name, end):
    published = configs.get(name)
    scaled = scaled_down(published, published.model, SMALL, peak_lr=0.5)
    schedule = scaled.optimizer.schedule
    assert isinstance(schedule, WarmupCosineInTokens)
    assert schedule.warmup_tokens == SMALL.warmup_steps * 4 * 256
    assert schedule.decay_tokens == pytest.approx(end * scaled.num_tokens, rel=1e-3)


def test_a_batch_grows_over_the_same_share_of_the_run():
    for name, sizes in (("palm_540b", [1, 2, 4]), ("chinchilla_70b", [2, 4])):
        published = configs.get(name)
        scaled = scaled_down(published, published.model, SMALL, peak_lr=0.5)
        assert [phase.size for phase in scaled.batch_sizes.phases] == sizes
        for phase, own in zip(published.batch_sizes.phases, scaled.batch_sizes.phases, strict=True):
            share = published.batch_sizes.before(phase.first_step) * published.seq_len
            own_share = scaled.batch_sizes.before(own.first_step) * scaled.seq_len
            assert own_share / scaled.num_tokens == pytest.approx(
                share / published.num_tokens, abs=0.002
            )
        assert scaled.num_tokens == pytest.approx(SMALL.num_tokens, rel=1e-3)


def test_a_budget_with_one_batch_size_has_no_ramp():
    for name in ("palm_540b", "gpt3_175b", "gopher_280b"):
        published = configs.get(name)
        assert scaled_down(published, published.model, NANO, peak_lr=0.5).batch_ramp is None


def test_an_inverse_square_root_keeps_its_form():
    palm = configs.get("palm_8b")
    scaled = scaled_down(palm, palm.model, SMALL, peak_lr=0.5)
    assert scaled.optimizer.schedule == InverseSquareRoot(peak_lr=0.5, constant_steps=30)


def test_what_the_budget_does_not_name_stays():
    gopher = configs.get("gopher_280b")
    scaled = scaled_down(gopher, gopher.model, SMALL, peak_lr=0.5)
    schedule = gopher.optimizer.schedule
    assert dataclasses.replace(scaled.optimizer, schedule=schedule) == gopher.optimizer
    assert scaled.optimizer.clip_norm == 0.25
    assert scaled.model == dataclasses.replace(gopher.model, vocab_size=4096, context_length=256)
    assert scaled.batch_tokens == 4 * 256
    assert scaled.execution == Execution()
