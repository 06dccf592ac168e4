"""Operations per token and model FLOPs utilisation."""

import pytest

import configs
from models.transformer import num_params
from zoo.flops import mfu, train_flops_per_token


def test_palm_540b_has_the_papers_utilisation():
    model = configs.get("palm_540b").model
    flops_per_token = train_flops_per_token(model, num_params=540_000_000_000, seq_len=2048)
    by_hand = 6 * 540e9 + 12 * 118 * 48 * 256 * 2048
    assert flops_per_token == by_hand
    utilisation = mfu(238.3e3 * flops_per_token, "TPU v4", 6144, "bfloat16")
    assert utilisation == pytest.approx(0.4620, abs=5e-5)
    without_attention = mfu(238.3e3 * 6 * 540e9, "TPU v4", 6144, "bfloat16")
    assert without_attention == pytest.approx(0.457, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "tokens", "published"),
    [("palm_8b", 780e9, 4.29e22), ("palm_62b", 795e9, 3.08e23), ("palm_540b", 780e9, 2.56e24)],
)
def test_table_22_gives_the_flops_of_the_whole_training(name: str, tokens: float, published: float):
    model = configs.get(name).model
    flops_per_token = train_flops_per_token(model, num_params(model), seq_len=2048)
    assert tokens * flops_per_token == pytest.approx(published, rel=0.005)


def test_utilisation_is_never_guessed():
    assert mfu(1e12, "cpu", 1, "bfloat16") is None
    assert mfu(1e12, "TPU v99", 1, "bfloat16") is None
    assert mfu(1e12, "TPU v4", 1, "float32") is None


def test_utilisation_is_per_device():
    assert mfu(275e12, "TPU v4", 1, "bfloat16") == 1
    assert mfu(275e12, "TPU v4", 4, "bfloat16") == 0.25
