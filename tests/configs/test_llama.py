"""LLaMA's sizes and recipe (arXiv 2302.13971, Table 2, sections 2.2 and 2.3)."""

import math

import pytest

from configs import llama
from models.model import num_params


@pytest.mark.parametrize(
    ("name", "count", "d_ff", "eps", "peak_lr", "tokens"),
    [
        ("llama_7b", 6_738_415_616, 11_008, 1e-6, 3.0e-4, 1.0e12),
        ("llama_13b", 13_015_864_320, 13_824, 1e-6, 3.0e-4, 1.0e12),
        ("llama_33b", 32_528_943_616, 17_920, 1e-6, 1.5e-4, 1.4e12),
        ("llama_65b", 65_285_660_672, 22_016, 1e-5, 1.5e-4, 1.4e12),
    ],
)
def test_table_2(name: str, count: int, d_ff: int, eps: float, peak_lr: float, tokens: float):
    experiment = llama.FAMILY[name]
    assert num_params(experiment.model) == count
    assert experiment.model.feed_forward.d_ff == d_ff
    assert experiment.model.attention.head_dim == 128
    assert experiment.model.norm.eps == eps
    assert experiment.optimizer.schedule.peak_lr == peak_lr
    assert experiment.num_tokens == pytest.approx(tokens, rel=1e-5)
    assert experiment.batch_tokens == pytest.approx(4e6, rel=0.05)


def test_table_2_truncates():
    for name, reported in llama.REPORTED_PARAMS.items():
        billions = num_params(llama.FAMILY[name].model) / 1e9
        assert f"{math.floor(10 * billions) / 10}B" == reported


def test_d_ff_is_two_thirds_of_four_d_model_rounded_up():
    for d_model, multiple_of, d_ff in ((240, 64, 640), (242, 64, 704), (32, 8, 88)):
        model = llama.architecture(2, d_model, 1, multiple_of=multiple_of)
        assert model.feed_forward.d_ff == d_ff
