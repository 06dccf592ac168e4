"""Batches that grow, against the papers' descriptions."""

import dataclasses
import math

import pytest

import configs
from configs.parts.batch_ramps import LinearRamp, SteppedRamp
from models.config import ConfigError


def test_palms_batch_grows_at_steps_50_000_and_115_000_and_the_run_ends_at_255_000():
    run = configs.get("palm_540b")
    expected = {0: 512, 49_999: 512, 50_000: 1024, 114_999: 1024, 115_000: 2048, 254_999: 2048}
    assert {step: run.batch_sizes.size(step) for step in expected} == expected
    assert run.num_steps == 255_000
    assert run.num_tokens == 2048 * (50_000 * 512 + 65_000 * 1024 + 140_000 * 2048)


def test_the_batch_of_the_smaller_palms_doubles_once():
    for name, sizes in (("palm_8b", [256, 512]), ("palm_62b", [512, 1024])):
        assert [phase.size for phase in configs.get(name).batch_sizes.phases] == sizes


@pytest.mark.parametrize(
    ("name", "num_steps", "tokens", "sizes"),
    [
        ("chinchilla_70b", 667_572, 1.4e12, [768, 1536]),
        ("gopher_280b", 71_526, 300e9, [1536, 3072]),
    ],
)
def test_a_batch_doubles_after_half_of_the_tokens(name, num_steps, tokens, sizes):
    run = configs.get(name)
    first, second = run.batch_sizes.phases
    assert [first.size, second.size] == sizes
    assert run.num_steps == num_steps
    assert run.num_tokens == pytest.approx(tokens, rel=1e-5)
    assert run.batch_sizes.before(second.first_step) * 2048 == pytest.approx(tokens / 2, rel=1e-5)


def test_gpt3s_batch_follows_its_line_to_within_a_sequence():
    """B(n) = 16 + (1536 - 16) n / 12e9 sequences after n tokens, rounded down."""
    sizes = configs.get("gpt3_175b").batch_sizes
    for step in range(0, 20_000, 97):
        tokens = 2048 * sizes.before(step)
        line = 16 + (1536 - 16) * min(1, tokens / 12e9)
        assert line - 1 < sizes.size(step) <= line + 1e-6
    assert sizes.steps(375e6 / 2048) == pytest.approx(5_400, rel=0.01)  # the warm-up's steps


def test_mt_nlgs_batch_grows_by_32_sequences_at_equal_distances_in_tokens():
    sizes = configs.get("mt_nlg_530b").batch_sizes
    assert [phase.size for phase in sizes.phases] == list(range(32, 1921, 32))
    tokens = [2048 * sizes.before(phase.first_step) for phase in sizes.phases]
    for number, seen in enumerate(tokens):
        # A batch is never cut: it grows up to one batch late.
        assert 0 <= seen - 12e9 * number / 59 < 2048 * 1920
    assert sizes.steps(1e9 / 2048) == pytest.approx(7_000, rel=0.01)  # the warm-up's steps


def test_the_last_batch_of_a_ramp_has_the_full_size_even_between_two_increments():
    ramp = LinearRamp(initial_tokens=30, increment_tokens=30, ramp_tokens=300)
    sizes = ramp.sizes(10, 10)
    assert [phase.size for phase in sizes.phases] == [3, 6, 9, 10]
    assert 10 * sizes.before(sizes.phases[-1].first_step) >= 300


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        (lambda: SteppedRamp(fractions=(0.5,), until_tokens=()), "one number for each phase"),
        (lambda: SteppedRamp(fractions=(1.5,), until_tokens=(9,)), "between 0 and 1"),
        (lambda: SteppedRamp(fractions=(0.2, 0.5), until_tokens=(9, 8)), "increasing"),
        (lambda: SteppedRamp(fractions=(0.2,), until_tokens=(math.inf,)), "finite"),
        (
            lambda: LinearRamp(initial_tokens=1, increment_tokens=1, ramp_tokens=math.inf),
            "must be finite",
        ),
        (lambda: LinearRamp(initial_tokens=0, increment_tokens=1, ramp_tokens=1), "initial_tokens"),
    ],
)
def test_an_impossible_ramp_is_refused(ramp, message):
    with pytest.raises(ConfigError, match=message):
        ramp()


@pytest.mark.parametrize("initial_tokens", [100, 64 * 9])
def test_a_first_batch_of_parts_of_sequences_or_above_the_full_size_is_refused(initial_tokens):
    run = configs.get("palm_nano")
    ramp = LinearRamp(initial_tokens=initial_tokens, increment_tokens=64, ramp_tokens=1e4)
    with pytest.raises(ConfigError, match="multiple of seq_len=64 and at most batch_tokens=512"):
        dataclasses.replace(run, batch_ramp=ramp)
