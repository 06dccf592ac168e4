"""Megatron-Turing NLG's size and recipe (arXiv 2201.11990, section 3.2)."""

import dataclasses
import math

import pytest

from configs import mt_nlg
from models.config import Normal
from models.model import num_params
from tests.models import samples
from zoo.training.schedule import make_schedule

EXPERIMENT = mt_nlg.FAMILY["mt_nlg_530b"]


def test_exact_count_with_and_without_the_padded_vocabulary():
    assert num_params(EXPERIMENT.model) == 529_600_819_200
    unpadded = num_params(dataclasses.replace(EXPERIMENT.model, vocab_size=50_257))
    assert unpadded == pytest.approx(529.58e9, abs=5e6)


def test_section_3_2():
    assert EXPERIMENT.model.attention.head_dim == 160
    assert EXPERIMENT.batch_size == 1920
    assert EXPERIMENT.num_tokens == pytest.approx(270e9, rel=1e-4)
    assert isinstance(EXPERIMENT.model.init, Normal)
    assert EXPERIMENT.model.init.std == pytest.approx(4.03e-3, rel=0.002)


def test_the_run_ends_before_its_cosine():
    schedule = make_schedule(EXPERIMENT)
    # Half a cosine from 1B to 340B tokens, seen at 270B.
    at_the_end = 0.1 + 0.9 * (1 + math.cos(math.pi * 269 / 339)) / 2
    assert float(schedule(EXPERIMENT.num_steps - 1)) == pytest.approx(5e-5 * at_the_end, rel=1e-3)


def test_initial_values_narrow_with_the_width():
    model = dataclasses.replace(mt_nlg.architecture(3, 128, 4), vocab_size=509, context_length=127)
    params = samples.to_numpy(samples.initial_params(model))
    std = math.sqrt(1 / (3 * 128))
    for name, expected in {
        "embedding": std,
        "position_embedding": std,
        "layers.attention.query.kernel": std,
        "layers.attention.output.kernel": std / math.sqrt(2 * 3),
        "layers.feed_forward.down.kernel": std / math.sqrt(2 * 3),
    }.items():
        assert params[name].std() == pytest.approx(expected, rel=0.03), name
