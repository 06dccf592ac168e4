"""A model's training run: its settings with their sources, its course, and the page in words."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import configs
from configs.paper import Note
from tests.reference.recipes import RUNS
from zoo.explaining import recipe_words
from zoo.explaining.model_card import model_card
from zoo.explaining.recipe import SECTIONS, Recipe, Setting
from zoo.explaining.recipe_page import show_recipe

LARGEST = [list(family.PUBLISHED)[-1] for family in configs.FAMILIES.values()]


def recipe(name: str) -> Recipe:
    return Recipe(model_card(name))


def setting(name: str, path: str) -> Setting:
    settings = [s for section in recipe(name).settings.values() for s in section]
    (found,) = (s for s in settings if s.path == path)
    return found


def page(name: str, width: int) -> list[str]:
    file = io.StringIO()
    show_recipe(recipe(name), Console(file=file, width=width, highlight=False))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("name", [*LARGEST, *(f"{family}_small" for family in configs.FAMILIES)])
def test_every_part_of_a_recipe_has_values_and_every_value_a_note(name: str):
    settings = recipe(name).settings
    assert list(settings) == list(SECTIONS)
    paper = recipe(name).card.paper
    for section in settings.values():
        assert section
        for one in section:
            assert Note(one.origin, one.note) == paper.note(one.path)


def test_a_value_is_the_papers_or_the_zoos_or_of_a_size_that_is_in_no_paper():
    assert setting("palm_540b", "optimizer.decay_exponent").origin == "paper"
    assert setting("palm_540b", "optimizer.decays").origin == "zoo"
    assert setting("gpt3_175b", "batch_ramp.ramp_tokens").origin == "zoo"
    for size, origin in (("palm_540b", "paper"), ("palm_8b", "zoo")):
        assert setting(size, "batch_ramp.until_tokens").origin == origin
    for path in ("batch_tokens", "num_steps"):
        assert setting("chinchilla_70b", path).origin == "paper"
        assert setting("chinchilla_44m", path).origin == "zoo"
    assert setting("gpt3_175b", "optimizer.schedule.peak_lr").in_published_sizes
    assert not setting("gpt3_small", "optimizer.schedule.peak_lr").in_published_sizes
    assert setting("palm_small", "optimizer").in_published_sizes


def test_values_without_effect_are_left_out():
    reaction = "Reaction to a diverging step"
    assert len(recipe("palm_540b").settings[reaction]) == 6
    names = [one.path for one in recipe("gpt3_175b").settings[reaction]]
    assert names == ["divergence.action", "divergence.window", "divergence.deviations"]
    dropout = "Loss and dropout"
    assert len(recipe("gpt1_117m").settings[dropout]) == 3
    assert len(recipe("gpt2_124m").settings[dropout]) == 2


@pytest.mark.parametrize("name", ["palm_540b", "gopher_280b"])
def test_samples_are_steps_of_the_papers_run_from_the_first_to_the_last(name: str):
    run, samples = RUNS[name](), recipe(name).samples
    assert samples.steps[0] == 1
    assert samples.steps[-1] == len(run.batches)
    assert (np.diff(samples.steps) > 0).all()
    at = samples.steps - 1
    np.testing.assert_array_equal(samples.tokens, np.cumsum(run.batches)[at] * run.seq_len)
    np.testing.assert_array_equal(samples.batch_tokens, run.batches[at] * run.seq_len)
    rounding = 1e-6 * run.rates.max()
    np.testing.assert_allclose(samples.rates, run.rates[at], rtol=1e-5, atol=rounding)


def test_json_has_the_documented_fields():
    described = json.loads(json.dumps(recipe("llama_7b").to_json(), allow_nan=False))
    assert list(described) == [
        "model",
        "family",
        "paper",
        "num_steps",
        "num_tokens",
        "settings",
        "curves",
        "mixture",
        "mixture_source",
    ]
    assert set(described["settings"][0]) == {
        "path",
        "value",
        "origin",
        "note",
        "in_published_sizes",
    }
    curves = described["curves"]
    assert list(curves) == ["steps", "tokens", "learning_rates", "batch_tokens"]
    assert len({len(curve) for curve in curves.values()}) == 1
    assert curves["tokens"][-1] == described["num_tokens"]


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        (
            "palm_540b",
            (
                "512 sequences of 2,048 tokens, "
                "1,024 after 50,000 steps (52.4B tokens), 2,048 after 115,000 steps (189B tokens)"
            ),
        ),
        (
            "mt_nlg_530b",
            (
                "32 sequences of 2,048 tokens, "
                "growing by 32 at a time to 1,920 after 14,475 steps (12B tokens)"
            ),
        ),
        ("gopher_44m", "128 sequences of 2,048 tokens in every step: 262k tokens"),
    ],
)
def test_batches_in_words(name: str, batches: str):
    assert recipe_words.batches(configs.get(name)) == batches


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "palm_540b",
            [
                "0.01 for 10,000 steps (10.5B tokens), ",
                "then 0.01 sqrt(10,000 / k) at step k: 0.00198 at the end of the run",
            ],
        ),
        (
            "gpt3_175b",
            [
                "a line from 0 to 6e-05 over 375M tokens (5,405 steps), ",
                "then half a cosine down to 6e-06 at 260B tokens (96,555 steps), ",
                "then constant: 6e-06 at the end of the run",
            ],
        ),
        (
            "mt_nlg_530b",
            [
                "a line from 0 to 5e-05 over 1B tokens (7,035 steps), ",
                "then half a cosine down to 5e-06 at 340B tokens (97,889 steps), ",
                "not reached: 9.57e-06 at the end of the run",
            ],
        ),
        (
            "gopher_44m",
            [
                "a line from 1e-07 to 0.0006 over 1,500 steps (393M tokens), ",
                "then half a cosine down to 6e-05 at the last step",
            ],
        ),
    ],
)
def test_a_learning_rate_in_words(name: str, parts: list[str]):
    last_rate = recipe(name).samples.rates[-1]
    assert recipe_words.learning_rate(configs.get(name), last_rate) == "".join(parts)


def test_the_optimizers_equations_have_the_recipes_numbers():
    assert recipe_words.update(configs.get("palm_540b")).splitlines() == [
        "g = gradient min(1, 1 / norm of all gradients)",
        "beta2 = 1 - k^-0.8; v = beta2 v + (1 - beta2) g^2",
        "m = 0.9 m + 0.1 lr max(RMS(p), 0.001) g / sqrt(v)",
        "p = p - m - lr^2 p",
    ]
    assert "left out for biases" in recipe_words.update(configs.get("llama_7b"))
    assert "+ 0.01 p)" in recipe_words.update(configs.get("gpt1_117m"))
    gophers = recipe_words.update(configs.get("gopher_280b"))
    assert gophers.startswith("g = gradient min(1, 0.25 / ")
    assert gophers.endswith("+ 1e-08))"), "no weight decay"


@pytest.mark.parametrize(
    ("number", "words"),
    [(775_946_240_000, "776B"), (1.4e12, "1.4T"), (999_999, "1M"), (512, "512"), (32_768, "32.8k")],
)
def test_counts_have_three_digits_and_a_unit(number: float, words: str):
    assert recipe_words.short(number) == words


def test_ticks_are_round_and_few():
    for largest in (3e4, 3e11, 7.8e11, 1e12, 1.4e12):
        ticks = recipe_words.round_numbers(largest)
        assert ticks[0] == 0
        assert 2 <= len(ticks) <= 6
        assert max(ticks) <= largest


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["palm_540b", "llama_small"])
def test_the_page_fits_the_terminal_and_draws_what_changes(name: str, width: int):
    lines = page(name, width)
    assert max(map(len, lines)) <= width
    drawings = sum("┼" in line for line in lines)
    assert drawings == (2 if name == "palm_540b" else 1)
    said = " ".join(" ".join(lines).split())
    assert "Optimizer" in said
    assert "beta1 0.9" in said
    assert ("Not a size of the paper" in said) == (name == "llama_small")
    assert ("in the published sizes: Table 2" in said) == (name == "llama_small")
    assert "not published; the zoo's choice: " in said
    assert "public stand-in" in said
