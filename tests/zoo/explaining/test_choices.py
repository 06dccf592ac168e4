"""A model's choices in words."""

import dataclasses

import pytest

import configs
from models import config as c
from tests.models import samples
from zoo.explaining.choices import choices, main_choices
from zoo.explaining.explanations import AXES, EXPLANATIONS


def phrases(model: c.ModelConfig) -> list[str]:
    return [choice.phrase for choice in main_choices(model)]


def test_palm_is_told_by_what_makes_it_palm():
    assert phrases(configs.get("palm_8b").model) == [
        "rotary positions (base 10,000)",
        "parallel layers, x + A(N(x)) + F(N(x))",
        "LayerNorm without bias",
        "multi-query attention, 16 query heads of 256 share one key and value head",
        "SwiGLU with d_ff 16,384",
        "no biases",
        "tied input and output embeddings",
        "logits / sqrt(d_model)",
    ]


def test_gpt3_is_told_by_what_makes_it_gpt3():
    assert phrases(configs.get("gpt3_125m").model) == [
        "2,048 learned positions",
        "pre-norm layers",
        "LayerNorm",
        "multi-head attention, 12 heads of 64",
        "layers alternate between all tokens and a band of the last 256",
        "GELU with d_ff 3,072",
        "biases in qkv, attention_output, feed_forward, norm",
        "tied input and output embeddings",
    ]


def test_gopher_is_told_by_what_makes_it_gopher():
    words = phrases(configs.get("gopher_280b").model)
    assert words[:3] == ["relative positions (Transformer-XL)", "pre-norm layers", "RMSNorm"]
    assert "biases in attention_output, feed_forward, logits" in words


def replaced(model: c.ModelConfig, **changes) -> list[str]:
    return phrases(dataclasses.replace(model, **changes))


def test_other_choices_have_other_words():
    words = replaced(samples.LLAMA_GQA, dropout_rate=0.1)
    assert "grouped-query attention, 6 query heads of 14 share 3 key and value heads" in words
    assert "a separate output matrix" in words
    assert "dropout 0.1" in words
    assert "post-norm layers" in phrases(samples.MODELS["gpt1"])
    exact = c.FeedForward(d_ff=29, kind="gelu_erf")
    assert "exact GELU with d_ff 29" in replaced(samples.GPT2, feed_forward=exact)
    banded = dataclasses.replace(samples.GPT2.attention, windows=(5,))
    assert "layers see a band of the last 5" in replaced(samples.GPT2, attention=banded)


MODELS = {
    **samples.MODELS,
    **{name: experiment.model for name, experiment in configs.MODELS.items()},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_one_choice_for_each_axis(name):
    assert [choice.explanation.axis for choice in choices(MODELS[name])] == list(AXES)


def test_what_differs_only_in_size_is_the_same_choice():
    small, large = (choices(configs.get(f"llama_{size}").model) for size in ("7b", "65b"))
    assert [choice.name for choice in small] == [choice.name for choice in large]
    assert [choice.words for choice in small] != [choice.words for choice in large]


def test_an_explanation_has_the_choice_its_effect_and_its_equation_once():
    layout = choices(configs.get("palm_8b").model)[2]
    chosen, effect, equation = layout.full_text.splitlines()
    assert chosen == "parallel layers"
    assert effect == EXPLANATIONS["parallel layers"].effect
    assert equation.startswith("x + A(N(x)) + F(N(x))   [")
