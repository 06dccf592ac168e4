"""Counts from the config against counts of the arrays."""

import dataclasses

import pytest

import configs
from models import config as c
from models.model import num_params
from models.parameters import params_by_part
from tests.models import samples
from tests.models.encoders import samples as encoders

SHAPES = {
    **samples.MODELS,
    **{name: configs.get(f"{name}_nano").model for name in (*configs.FAMILIES, *configs.CONTRASTS)},
    **encoders.MODELS,
    "every bias": dataclasses.replace(
        samples.LLAMA_GQA,
        biases=("qkv", "attention_output", "feed_forward", "norm", "logits"),
        norm=c.LayerNorm(),
    ),
    "relative with narrow heads": dataclasses.replace(
        samples.LLAMA_GQA, position=c.Relative(), d_model=18, biases=("qkv",)
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parts_sum_to_the_count_of_the_arrays(name):
    assert sum(params_by_part(SHAPES[name]).values()) == num_params(SHAPES[name])


def test_every_part_is_its_product():
    d, n, k, h, f, v = 17, 6, 3, 14, 29, 53
    assert params_by_part(samples.LLAMA_GQA) == {
        "token embedding": v * d,
        "attention": 3 * (d * n * h + 2 * d * k * h + n * h * d),
        "feed-forward": 3 * 3 * d * f,
        "norms": (2 * 3 + 1) * d,
        "output matrix": v * d,
    }
