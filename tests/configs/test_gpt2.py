"""GPT-2's sizes, counts and initialisation."""

import dataclasses
import math

import pytest

from configs import gpt2
from models.model import num_params
from tests.models import samples


@pytest.mark.parametrize(
    ("name", "count", "in_the_paper"),
    [
        ("gpt2_124m", 124_439_808, "117M"),
        ("gpt2_355m", 354_823_168, "345M"),
        ("gpt2_774m", 774_030_080, "762M"),
        ("gpt2_1558m", 1_557_611_200, "1542M"),
    ],
)
def test_exact_counts_and_what_was_wrong_with_the_papers(name: str, count: int, in_the_paper: str):
    model = gpt2.FAMILY[name].model
    assert num_params(model) == count
    assert model.attention.head_dim == 64
    with_gpt1s_vocabulary = num_params(dataclasses.replace(model, vocab_size=40_478))
    assert f"{with_gpt1s_vocabulary / 1e6:.0f}M" == in_the_paper
    assert in_the_paper in gpt2.PAPER.mismatches[name]


def test_initial_values_follow_the_released_code_and_section_2_3():
    model = dataclasses.replace(
        gpt2.FAMILY["gpt2_124m"].model,
        num_layers=3,
        d_model=128,
        vocab_size=509,
        context_length=127,
        attention=samples.GPT2.attention,
    )
    params = samples.to_numpy(samples.initial_params(model))
    residual = 0.02 / math.sqrt(2 * 3)
    special = {
        "position_embedding": 0.01,
        "layers.attention.output.kernel": residual,
        "layers.feed_forward.down.kernel": residual,
    }
    for name, value in params.items():
        if name.endswith("scale"):
            assert (value == 1).all(), name
        elif name.endswith("bias"):
            assert (value == 0).all(), name
        else:
            assert value.std() == pytest.approx(special.get(name, 0.02), rel=0.03), name
    assert set(special) < set(params)
    num_biases = sum(name.endswith("bias") for name in params)
    assert num_biases == 9  # q, k, v, output, up, down and three norms
