"""The card of a model: its JSON, its cache sizes, and its values in words."""

import json

import pytest

from configs.parts.optimizers import AdamW, WarmupCosine
from models.config import ConfigError
from zoo.explaining.model_card import format_value, model_card

FIELDS = {
    "model",
    "family",
    "paper",
    "num_params",
    "params_by_part",
    "reported_params",
    "mismatch",
    "choices",
    "num_layers",
    "d_model",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "windows",
    "d_ff",
    "context_length",
    "vocab_size",
    "flops_per_token",
    "decode_flops_per_token",
    "kv_cache_bytes_per_token",
    "num_tokens",
    "tokens_per_param",
    "sources",
    "reasons",
    "not_published",
    "mixture",
    "mixture_source",
}


def test_json_has_the_documented_fields_and_palms_numbers():
    described = json.loads(json.dumps(model_card("palm_540b").to_json()))
    assert set(described) == FIELDS
    assert described["num_params"] == 540_356_474_880
    assert sum(described["params_by_part"].values()) == 540_356_474_880
    assert described["reported_params"] == "540.35B"
    assert "norm scales" in described["mismatch"]
    assert described["choices"]["attention"] == "multi-query attention"
    assert described["choices"]["feed_forward"] == "SwiGLU"
    assert described["flops_per_token"] == pytest.approx(3.28e12, rel=1e-3)  # PaLM, Table 22
    assert described["kv_cache_bytes_per_token"] == 118 * 2 * 256 * 2
    assert described["tokens_per_param"] == pytest.approx(780 / 540, rel=1e-2)


def test_a_banded_layer_keeps_its_band_only():
    banded, dense = model_card("gpt3_175b"), model_card("jurassic1_178b")
    every_token = 96 * 2 * 12288 * 2
    assert banded.kv_cache_bytes_per_token == every_token * (1 + 256 / 2048) / 2
    assert dense.kv_cache_bytes_per_token == 76 * 2 * 13824 * 2


def test_a_size_of_the_zoos_own_is_in_no_paper():
    small = model_card("llama_small")
    assert small.reported_params is None
    assert not small.is_published("model.d_model")
    assert small.is_published("model.norm")
    assert model_card("llama_7b").is_published("model.d_model")


def test_an_unknown_model_offers_the_nearest():
    with pytest.raises(
        ConfigError, match="model 'llama_8b' is not in the zoo; did you mean llama_"
    ):
        model_card("llama_8b")


def test_a_value_in_words_leaves_out_what_has_an_entry_of_its_own():
    optimizer = AdamW(schedule=WarmupCosine(peak_lr=0.001, warmup_steps=2000), clip_norm=0.25)
    words = format_value(optimizer, "optimizer", ("optimizer.schedule", "optimizer.beta1"))
    assert words == (
        "AdamW(beta2=0.95, eps=1e-08, weight_decay=0.1, decays=matrices, clip_norm=0.25)"
    )
    assert "peak_lr=0.001, warmup_steps=2,000" in format_value(optimizer.schedule)
    assert format_value(()) == "none"
