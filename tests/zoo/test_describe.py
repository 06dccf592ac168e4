"""A model's choices in words."""

import dataclasses

import configs
from tests.models import samples
from zoo.describe import describe_choices


def test_palm_is_told_by_what_makes_it_palm():
    assert describe_choices(configs.get("palm_8b").model) == [
        "rotary positions (base 10,000)",
        "parallel layers, x + A(N(x)) + F(N(x))",
        "LayerNorm without bias",
        "multi-query attention, 16 query heads of 256 share one key and value head",
        "SwiGLU with d_ff 16,384",
        "no biases",
        "tied input and output embeddings",
        "logits / sqrt(d_model)",
    ]


def test_gpt2_is_told_by_what_makes_it_gpt2():
    assert describe_choices(configs.get("gpt2_124m").model) == [
        "1,024 learned positions",
        "pre-norm layers",
        "LayerNorm",
        "multi-head attention, 12 heads of 64",
        "GELU with d_ff 3,072",
        "biases in qkv, attention_output, feed_forward, norm",
        "tied input and output embeddings",
    ]


def test_other_choices_have_other_words():
    words = describe_choices(dataclasses.replace(samples.MODELS["llama_gqa"], dropout_rate=0.1))
    assert "RMSNorm" in words
    assert "grouped-query attention, 6 query heads of 14 share 3 key and value heads" in words
    assert "an output matrix" in words
    assert "dropout 0.1" in words
    assert "post-norm layers" in describe_choices(samples.MODELS["gpt1"])
