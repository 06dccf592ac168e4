"""GPT-1's count and recipe (Radford et al. 2018, section 4.1)."""

from configs import gpt1
from configs.parts.optimizers import RateCorrectedAdam
from models.model import num_params


def test_the_count_is_that_of_the_released_shapes():
    assert num_params(gpt1.FAMILY["gpt1_117m"].model) == 116_534_784


def test_section_4_1():
    experiment = gpt1.FAMILY["gpt1_117m"]
    assert (experiment.model.attention.head_dim, experiment.model.feed_forward.d_ff) == (64, 3072)
    assert experiment.batch_size == 64
    assert experiment.optimizer.schedule.peak_lr == 2.5e-4
    assert isinstance(experiment.optimizer, RateCorrectedAdam)
    assert experiment.optimizer.weight_decay == 0.01
    assert experiment.model.dropout_rate == 0.1
    assert experiment.model.embedding_dropout == "tables"
