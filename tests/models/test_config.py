"""The values that a model config accepts, and those that it refuses."""

import dataclasses
import typing

import pytest

from models import config as c
from models.execution import Execution
from tests.models import samples

DATACLASSES = [
    kind for kind in vars(c).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)
]


def test_at_most_three_booleans():
    booleans = [
        f"{kind.__name__}.{name}"
        for kind in DATACLASSES
        for name, annotation in typing.get_type_hints(kind).items()
        if annotation is bool or bool in typing.get_args(annotation)
    ]
    assert "ModelConfig.tie_embeddings" in booleans
    assert len(booleans) <= 3, booleans


def test_configs_are_hashable():
    for config in samples.MODELS.values():
        assert hash(config) == hash(dataclasses.replace(config))  # jit's static arguments


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 0},
        {"context_length": 0},
        {"num_layers": -1},
        {"d_model": 0},
        {"dropout_rate": 1.0},
        {"dropout_rate": -0.1},
    ],
    ids=str,
)
def test_a_refusal_names_the_field_and_the_value(change: dict[str, float]):
    ((field, value),) = change.items()
    with pytest.raises(c.ConfigError, match=rf"model\.{field}={value}\b.* must "):
        dataclasses.replace(samples.PALM, **change)


def test_heads_must_divide_and_rotary_heads_be_even():
    with pytest.raises(c.ConfigError, match=r"num_kv_heads=3 must divide num_heads=5"):
        c.Attention(num_heads=5, num_kv_heads=3, head_dim=2)
    with pytest.raises(c.ConfigError, match="num_heads=0 and head_dim=2"):
        c.Attention(num_heads=0, num_kv_heads=1, head_dim=2)
    odd = c.Attention(num_heads=5, num_kv_heads=1, head_dim=7)
    with pytest.raises(c.ConfigError, match="head_dim=7 must be even"):
        dataclasses.replace(samples.PALM, attention=odd)
    assert dataclasses.replace(samples.PALM, attention=odd, position=c.Learned()).d_model == 17
    with pytest.raises(c.ConfigError, match="d_ff=0"):
        c.FeedForward(d_ff=0, kind="gelu")
    with pytest.raises(c.ConfigError, match="unroll=0"):
        Execution(unroll=0)


def test_only_learned_positions_end_at_the_context_length():
    lengths = {
        position: dataclasses.replace(samples.LLAMA, position=position, d_model=22).max_length
        for position in (c.Learned(), c.Rotary(), c.Relative())
    }
    assert lengths == {c.Learned(): 31, c.Rotary(): None, c.Relative(): None}


def test_auto_precision_is_bfloat16_only_on_accelerators():
    auto = Execution(remat="dots")
    assert auto.resolve(accelerated=True) == Execution(dtype="bfloat16", remat="dots")
    assert auto.resolve(accelerated=False) == Execution(dtype="float32", remat="dots")
    chosen = Execution(dtype="bfloat16")
    assert chosen.resolve(accelerated=False) == chosen
