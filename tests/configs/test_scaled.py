"""A family's recipe in a smaller budget."""

import dataclasses

import pytest

import configs
from configs.optimizers import InverseSquareRoot, WarmupCosine
from configs.scaled import NANO, SMALL, scaled_down
from models.config import Execution


@pytest.mark.parametrize("budget", [NANO, SMALL], ids=["nano", "small"])
def test_a_cosine_keeps_its_floor_and_fits_the_run(budget):
    gpt1, gopher = configs.get("gpt1_117m"), configs.get("gopher_44m")
    for published, floor in ((gpt1, 0.0), (gopher, 0.1)):
        scaled = scaled_down(published, published.model, budget, peak_lr=0.5)
        assert scaled.optimizer.schedule == WarmupCosine(
            peak_lr=0.5, warmup_steps=budget.warmup_steps, final_fraction=floor
        )
        assert budget.warmup_steps < scaled.num_steps == budget.num_steps


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
