"""Learning rates against the papers' equations."""

import dataclasses
import math

import numpy as np
import pytest

import configs
from configs.parts.batch_ramps import LinearRamp
from configs.parts.optimizers import (
    InverseSquareRoot,
    Schedule,
    WarmupCosine,
    WarmupCosineInTokens,
    WarmupLinear,
)
from data.batches.sizes import BatchSizes, Phase
from zoo.training.schedule import LearningRate, make_schedule, tokens_after


def rate_of(schedule: Schedule, num_steps: int, **changes) -> LearningRate:
    """Return the learning rate of a small run by Optax's count."""
    run = configs.get("palm_nano")
    optimizer = dataclasses.replace(run.optimizer, schedule=schedule)
    return make_schedule(
        dataclasses.replace(run, optimizer=optimizer, num_steps=num_steps, **changes)
    )


def test_palms_learning_rate_is_one_hundredth_and_then_one_over_the_square_root_of_the_step():
    schedule = rate_of(InverseSquareRoot(peak_lr=1e-2, constant_steps=10_000), 255_000)
    for step in (1, 17, 9_999, 10_000):
        assert float(schedule(step - 1)) == pytest.approx(1e-2, rel=1e-6)
    for step in (10_001, 40_000, 255_000):
        assert float(schedule(step - 1)) == pytest.approx(step**-0.5, rel=1e-6)


def test_warmup_cosine_passes_through_its_corners():
    schedule = rate_of(WarmupCosine(peak_lr=0.8, warmup_steps=4, final_fraction=0.25), 12)
    rates = [float(schedule(step - 1)) for step in range(1, 13)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    middle = (0.8 + 0.2) / 2
    assert rates[7] == pytest.approx(middle)
    assert rates[5] == pytest.approx(middle + 0.3 * math.cos(math.pi / 4))
    assert rates[11] == pytest.approx(0.2)
    assert float(schedule(99)) == pytest.approx(0.2)


def test_a_cosine_may_end_before_the_run_or_after_it():
    """GPT-3 stays at the floor from 260B of its 300B tokens; MT-NLG stops at 270B of 340B."""
    for num_steps in (8, 30):
        cosine = WarmupCosine(peak_lr=0.8, warmup_steps=4, decay_steps=12, final_fraction=0.25)
        schedule = rate_of(cosine, num_steps)
        rates = [float(schedule(step - 1)) for step in (4, 8, 12, 13, 30)]
        assert rates == pytest.approx([0.8, 0.5, 0.2, 0.2, 0.2])


def test_a_warm_up_may_start_above_zero():
    """Gopher's starts at 1e-7; a larger one shows."""
    schedule = rate_of(WarmupCosine(peak_lr=0.8, warmup_steps=4, initial_lr=0.4), 12)
    assert [float(schedule(step - 1)) for step in (1, 2, 4)] == pytest.approx([0.5, 0.6, 0.8])


def test_a_cosine_to_zero_ends_at_zero():
    schedule = rate_of(WarmupCosine(peak_lr=0.8, warmup_steps=4, final_fraction=0.0), 12)
    assert float(schedule(11)) == pytest.approx(0.0, abs=1e-7)


def test_a_line_ends_at_zero_at_the_last_step():
    """Devlin et al. 2018, appendix A.2."""
    schedule = rate_of(WarmupLinear(peak_lr=0.8, warmup_steps=4), 12)
    rates = [float(schedule(step - 1)) for step in (1, 2, 4, 8, 12)]
    assert rates == pytest.approx([0.2, 0.4, 0.8, 0.4, 0.0])


def test_vaswanis_learning_rate():
    """Equation 3: d_model^-0.5 min(step^-0.5, step warmup_steps^-1.5)."""
    for name in ("transformer_base", "transformer_big"):
        run = configs.get(name)
        schedule, d = make_schedule(run), run.model.d_model
        for step in (1, 100, 4000, 4001, 50_000, run.num_steps):
            expected = d**-0.5 * min(step**-0.5, step * 4000**-1.5)
            assert float(schedule(step - 1)) == pytest.approx(expected, rel=1e-5)


def test_warmup_cosine_without_warm_up_or_longer_than_the_run():
    at_once = rate_of(WarmupCosine(peak_lr=0.8, warmup_steps=0), 10)
    assert 0.7 < float(at_once(0)) <= 0.8
    long = rate_of(WarmupCosine(peak_lr=0.8, warmup_steps=8), 4)
    assert [float(long(step - 1)) for step in (1, 4, 8)] == pytest.approx([0.1, 0.4, 0.8])


def test_tokens_follow_the_sizes_of_the_batches():
    sizes = BatchSizes((Phase(0, 2), Phase(3, 5), Phase(4, 8)))
    tokens = tokens_after(sizes, seq_len=10)
    assert [float(tokens(k)) for k in range(7)] == [0, 20, 40, 60, 110, 190, 270]
    np.testing.assert_array_equal(tokens(np.arange(3)), [0, 20, 40])


def test_a_schedule_in_tokens_is_the_one_in_steps_if_all_batches_are_equal():
    in_tokens = WarmupCosineInTokens(peak_lr=0.8, warmup_tokens=4 * 512, decay_tokens=12 * 512)
    in_steps = WarmupCosine(peak_lr=0.8, warmup_steps=4, decay_steps=12)
    count = np.arange(20)
    expected = rate_of(in_steps, 20)(count)
    np.testing.assert_allclose(rate_of(in_tokens, 20)(count), expected, rtol=1e-6)
    to_the_end = dataclasses.replace(in_tokens, decay_tokens=None)
    np.testing.assert_allclose(rate_of(to_the_end, 12)(count[:12]), expected[:12], rtol=1e-6)


def test_a_schedule_in_tokens_follows_a_growing_batch():
    """Batches of 1, 2, 3 and 4 sequences: the rate after each is that of the tokens seen."""
    ramp = LinearRamp(initial_tokens=64, increment_tokens=64, ramp_tokens=6 * 64)
    schedule = WarmupCosineInTokens(peak_lr=1.0, warmup_tokens=16 * 64, decay_tokens=100 * 64)
    rate = rate_of(schedule, 20, batch_tokens=4 * 64, batch_ramp=ramp)
    sizes = ramp.sizes(4, 64)
    seen = np.cumsum([sizes.size(step) for step in range(6)])
    assert len(set(np.diff(seen))) > 1
    np.testing.assert_allclose(rate(np.arange(6))[seen <= 16], seen[seen <= 16] / 16, rtol=1e-6)
