"""Jurassic-1's sizes and recipe (Lieber et al. 2021, Table 1, sections 2.1 to 2.3)."""

import pytest

from configs import gpt3, jurassic1
from models.model import num_params


@pytest.mark.parametrize(
    ("name", "count", "head_dim", "like"),
    [
        ("jurassic1_7.5b", 7_526_293_504, 128, "gpt3_6.7b"),
        ("jurassic1_178b", 177_951_790_080, 144, "gpt3_175b"),
    ],
)
def test_table_1_and_gpt3s_recipe_for_the_size(name: str, count: int, head_dim: int, like: str):
    experiment, gpt3s = jurassic1.FAMILY[name], gpt3.FAMILY[like]
    assert num_params(experiment.model) == count
    assert experiment.model.attention.head_dim == head_dim
    assert experiment.optimizer == gpt3s.optimizer
    assert experiment.num_tokens == gpt3s.num_tokens
    assert set(experiment.model.attention.windows) == {None}


def test_the_embedding_has_the_3_6_billion_parameters_of_section_2_2():
    model = jurassic1.FAMILY["jurassic1_178b"].model
    assert f"{model.vocab_size * model.d_model / 1e9:.1f}B" == "3.6B"
    assert f"{256_000 * model.d_model / 1e9:.1f}B" == "3.5B"


def test_it_is_wider_and_shallower_than_gpt3():
    for size, like in (("178b", "175b"), ("small", "small")):
        ours, theirs = (
            jurassic1.FAMILY[f"jurassic1_{size}"].model,
            gpt3.FAMILY[f"gpt3_{like}"].model,
        )
        assert ours.num_layers < theirs.num_layers
        assert ours.d_model > theirs.d_model
