"""Gopher's sizes and recipe (arXiv 2112.11446, Table 1, section 3.2)."""

import pytest

from configs import gopher
from models.model import num_params
from zoo.training.schedule import make_schedule


@pytest.mark.parametrize(
    ("name", "count", "batch_tokens", "peak_lr", "clip_norm"),
    [
        ("gopher_44m", 43_720_448, 0.25e6, 6e-4, 1.0),
        ("gopher_117m", 116_713_472, 0.25e6, 6e-4, 1.0),
        ("gopher_417m", 417_420_032, 0.25e6, 2e-4, 1.0),
        ("gopher_1.4b", 1_374_684_416, 0.25e6, 2e-4, 1.0),
        ("gopher_7.1b", 7_111_740_672, 2e6, 1.2e-4, 0.25),
        ("gopher_280b", 279_710_317_824, 6e6, 4e-5, 0.25),
    ],
)
def test_table_1(name: str, count: int, batch_tokens: float, peak_lr: float, clip_norm: float):
    experiment = gopher.FAMILY[name]
    assert num_params(experiment.model) == count
    assert experiment.batch_tokens == pytest.approx(batch_tokens, rel=0.05)
    assert experiment.optimizer.schedule.peak_lr == pytest.approx(peak_lr)
    assert experiment.optimizer.clip_norm == clip_norm
    assert experiment.num_tokens == pytest.approx(300e9, rel=1e-4)


def test_the_warm_up_starts_at_1e_7_and_the_cosine_ends_at_a_tenth():
    experiment = gopher.FAMILY["gopher_44m"]
    schedule = make_schedule(experiment)
    assert float(schedule(0)) == pytest.approx(1e-7 + (6e-4 - 1e-7) / 1500, rel=1e-4)
    assert float(schedule(1499)) == pytest.approx(6e-4)
    assert float(schedule(experiment.num_steps - 1)) == pytest.approx(6e-5, rel=1e-3)
