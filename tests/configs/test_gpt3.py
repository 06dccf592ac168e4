"""GPT-3's sizes and recipe (arXiv 2005.14165, Tables 2.1 and D.1, appendix B)."""

import dataclasses

import pytest

from configs import gpt3
from models.config import ModelConfig
from models.model import num_params
from zoo.training.schedule import make_schedule


@pytest.mark.parametrize(
    ("name", "count", "table_d1", "batch_tokens", "peak_lr"),
    [
        ("gpt3_125m", 125_226_240, 125e6, 0.5e6, 6.0e-4),
        ("gpt3_350m", 355_871_744, 356e6, 0.5e6, 3.0e-4),
        ("gpt3_760m", 760_300_032, 760e6, 0.5e6, 2.5e-4),
        ("gpt3_1.3b", 1_315_723_264, 1_320e6, 1e6, 2.0e-4),
        ("gpt3_2.7b", 2_651_553_280, 2_650e6, 1e6, 1.6e-4),
        ("gpt3_6.7b", 6_658_404_352, 6_660e6, 2e6, 1.2e-4),
        ("gpt3_13b", 12_853_386_240, 12_850e6, 2e6, 1.0e-4),
        ("gpt3_175b", 174_604_259_328, 174_600e6, 3.2e6, 0.6e-4),
    ],
)
def test_tables_2_1_and_d_1(
    name: str, count: int, table_d1: float, batch_tokens: float, peak_lr: float
):
    experiment = gpt3.FAMILY[name]
    assert num_params(experiment.model) == count
    assert count == pytest.approx(table_d1, rel=0.005)
    assert experiment.batch_tokens == pytest.approx(batch_tokens, rel=0.05)
    assert experiment.optimizer.schedule.peak_lr == peak_lr
    assert experiment.num_tokens == pytest.approx(300e9, rel=1e-5)
    a = experiment.model.attention
    assert a.num_heads * a.head_dim == experiment.model.d_model


def millions(model: ModelConfig, *, num_heads: int, head_dim: int, d_model: int) -> str:
    """Return the count with other widths, as Table D.1 prints it."""
    attention = dataclasses.replace(
        model.attention, num_heads=num_heads, num_kv_heads=num_heads, head_dim=head_dim
    )
    feed_forward = dataclasses.replace(model.feed_forward, d_ff=4 * d_model)
    changed = dataclasses.replace(
        model, d_model=d_model, attention=attention, feed_forward=feed_forward
    )
    return f"{num_params(changed) / 1e6:,.0f}M"


def test_the_two_misprints_of_table_2_1_would_give_other_counts_than_table_d_1():
    xl, thirteen = (gpt3.FAMILY[name].model for name in ("gpt3_1.3b", "gpt3_13b"))
    too_many_heads = millions(xl, num_heads=24, head_dim=128, d_model=2048)
    assert too_many_heads == "1,517M" in gpt3.PAPER.mismatches["gpt3_1.3b"]
    # 5140 is not 40 heads of any size; as 20 of 257 it has the same matrices.
    too_wide = millions(thirteen, num_heads=20, head_dim=257, d_model=5140)
    assert too_wide == "12,953M" in gpt3.PAPER.mismatches["gpt3_13b"]


def test_dense_and_banded_layers_alternate_and_the_band_is_narrower_than_the_text():
    for experiment in gpt3.FAMILY.values():
        dense, band = experiment.model.attention.windows
        assert dense is None
        assert band is not None
        assert 0 < band <= experiment.seq_len // 4


def test_the_rate_reaches_its_floor_at_260_billion_tokens():
    experiment = gpt3.FAMILY["gpt3_175b"]
    schedule = make_schedule(experiment)

    def rate(tokens: float) -> float:
        return float(schedule(experiment.batch_sizes.steps(tokens / experiment.seq_len) - 1))

    assert rate(375e6) == pytest.approx(0.6e-4, rel=1e-3)
    assert rate(250e9) > 1.001 * 0.6e-5
    assert rate(260e9) == pytest.approx(0.6e-5, rel=1e-4)
    assert rate(300e9) == pytest.approx(0.6e-5, rel=1e-4)
