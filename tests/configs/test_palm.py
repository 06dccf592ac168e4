"""PaLM's sizes, counts and initialisation (arXiv 2204.02311)."""

import numpy as np
import pytest

from configs import palm
from models.config import ModelConfig
from models.model import num_params
from tests.models import samples


def num_norm_scales(model: ModelConfig) -> int:
    """Return the number of norm scales: one norm per layer, and the last one."""
    return (model.num_layers + 1) * model.d_model


@pytest.mark.parametrize(
    ("name", "with_norms", "published"),
    [
        ("palm_8b", 8_632_012_800, 8_631_877_632),
        ("palm_62b", 62_495_662_080, 62_495_129_600),
        ("palm_540b", 540_356_474_880, 540_354_281_472),
    ],
)
def test_exact_parameter_counts(name: str, with_norms: int, published: int):
    model = palm.FAMILY[name].model
    assert num_params(model) == with_norms
    assert with_norms - num_norm_scales(model) == published


def test_table_1_prints_the_counts_without_norm_scales():
    for name, reported in palm.REPORTED_PARAMS.items():
        model = palm.FAMILY[name].model
        scales, count = num_norm_scales(model), num_params(model)
        assert f"{(count - scales) / 1e9:.2f}B" == reported
        assert f"{scales:,}" in palm.PAPER.mismatches[name]
        assert f"{count:,}" in palm.PAPER.mismatches[name]


@pytest.mark.parametrize(
    ("name", "batch_size", "tokens"),
    [("palm_8b", 512, 780e9), ("palm_62b", 1024, 795e9), ("palm_540b", 2048, 775.946e9)],
)
def test_batches_and_tokens(name: str, batch_size: int, tokens: float):
    experiment = palm.FAMILY[name]
    assert experiment.batch_size == batch_size
    assert experiment.num_tokens == pytest.approx(tokens, rel=1e-5)


def test_initial_values_follow_section_5():
    model = palm.FAMILY["palm_small"].model
    params = samples.to_numpy(samples.initial_params(model))
    d, f = model.d_model, model.feed_forward.d_ff
    attended = model.attention.num_heads * model.attention.head_dim
    expected = {
        "embedding": 1.0,
        "layers.attention.query.kernel": d**-0.5,
        "layers.attention.key.kernel": d**-0.5,
        "layers.attention.value.kernel": d**-0.5,
        "layers.attention.output.kernel": attended**-0.5,
        "layers.feed_forward.gate.kernel": d**-0.5,
        "layers.feed_forward.up.kernel": d**-0.5,
        "layers.feed_forward.down.kernel": f**-0.5,
    }
    scales = {name for name in params if name.endswith("scale")}
    assert set(params) == set(expected) | scales
    for name, std in expected.items():
        assert params[name].std() == pytest.approx(std, rel=0.02), name
        assert abs(params[name].mean()) < 0.02 * std, name
        if name.startswith("layers."):
            first, second, *_ = params[name]
            assert not np.array_equal(first, second), name
    for name in scales:
        assert (params[name] == 1).all(), name
