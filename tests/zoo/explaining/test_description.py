import json

import pytest

import configs
from configs.experiment import AdamW, WarmupCosine
from models.config import ConfigError
from zoo.explaining.description import (
    COLUMNS,
    describe,
    family_members,
    folded,
    in_words,
    row,
    short,
)

FIELDS = {
    "model", "family", "paper", "num_params", "params_by_part", "reported_params", "mismatch",
    "choices", "num_layers", "d_model", "num_heads", "num_kv_heads", "head_dim", "windows", "d_ff",
    "context_length", "vocab_size", "flops_per_token", "decode_flops_per_token",
    "kv_cache_bytes_per_token", "zoo_kv_cache_bytes_per_token", "num_tokens", "tokens_per_param",
    "sources", "reasons", "not_published",
}  # fmt: skip


def test_json_has_the_documented_fields_and_palms_numbers():
    described = json.loads(json.dumps(describe("palm_540b").to_json()))
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


def test_a_banded_layer_needs_its_band_and_the_zoo_keeps_all():
    banded, dense = describe("gpt3_175b"), describe("jurassic1_178b")
    every_token = 96 * 2 * 12288 * 2
    assert banded.zoo_kv_cache_bytes_per_token == every_token
    assert banded.kv_cache_bytes_per_token == every_token * (1 + 256 / 2048) / 2
    assert dense.kv_cache_bytes_per_token == dense.zoo_kv_cache_bytes_per_token


def test_a_size_of_the_zoos_own_is_in_no_paper():
    small = describe("llama_small")
    assert small.reported_params is None
    assert not small.is_published("model.d_model")
    assert small.is_published("model.norm")
    assert describe("llama_7b").is_published("model.d_model")


def test_an_unknown_model_offers_the_nearest():
    with pytest.raises(
        ConfigError, match="model 'llama_8b' is not in the zoo; did you mean llama_"
    ):
        describe("llama_8b")


def test_only_chinchillas_many_sizes_are_folded():
    for family in configs.FAMILIES:
        away = [each.name for each in folded(family_members(family))]
        assert len(away) == (50 if family == "chinchilla" else 0)
        assert "chinchilla_70b" not in away


def test_a_row_has_a_cell_for_every_column():
    cells = dict(zip(COLUMNS, row(describe("palm_8b")), strict=True))
    assert cells["heads"] == "16 (1) x 256"
    assert cells["parameters"] == "8,632,012,800"
    assert cells["FLOPs"] == "5.50e10"  # Table 22
    assert dict(zip(COLUMNS, row(describe("gpt1_nano")), strict=True))["published"] == "-"


@pytest.mark.parametrize(
    ("value", "words"), [(0.5123, "0.51"), (9.999, "10.00"), (1234.5, "1,234")]
)
def test_short_numbers(value, words):
    assert short(value) == words


def test_a_value_in_words_leaves_out_what_has_an_entry_of_its_own():
    optimizer = AdamW(schedule=WarmupCosine(peak_lr=0.001, warmup_steps=2000), clip_norm=0.25)
    words = in_words(optimizer, "optimizer", ("optimizer.schedule", "optimizer.beta1"))
    assert words == "AdamW(beta2=0.95, eps=1e-08, weight_decay=0.1, clip_norm=0.25)"
    assert "peak_lr=0.001, warmup_steps=2,000" in in_words(optimizer.schedule)
    assert in_words(()) == "none"
