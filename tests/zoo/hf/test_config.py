"""config.json and ModelConfig: what each key means, and what is refused by name."""

import dataclasses

import pytest

import configs
from models import config as c
from tests.models import samples
from zoo.common.errors import CheckpointError
from zoo.hf.config import to_hf_config, to_model_config

LLAMA = {"model_type": "llama", "hidden_size": 24, "num_attention_heads": 6}
GPT2 = {"model_type": "gpt2"}


def test_gpt2s_defaults_are_the_zoos_gpt2_124m():
    _, model = to_model_config(GPT2)
    ours = configs.get("gpt2_124m").model
    assert dataclasses.replace(model, init=ours.init, dropout_rate=0.0) == ours


def test_llamas_keys():
    _, model = to_model_config(
        LLAMA
        | {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
            "tie_word_embeddings": True,
            "attention_bias": True,
            "rms_norm_eps": 1e-5,
        }
    )
    assert model.attention == c.Attention(num_heads=6, num_kv_heads=2, head_dim=8)
    assert model.position == c.Rotary(theta=5e5)
    assert model.norm == c.RMSNorm(eps=1e-5)
    assert model.tie_embeddings
    assert model.biases == ("qkv", "attention_output")


@pytest.mark.parametrize(
    ("activation", "kind"),
    [("gelu_new", "gelu"), ("gelu_pytorch_tanh", "gelu"), ("gelu", "gelu_erf")],
)
def test_gpt2s_gelu_is_the_tanh_form_or_the_exact_one(activation, kind):
    _, model = to_model_config(GPT2 | {"activation_function": activation})
    assert model.feed_forward.kind == kind


def test_gpt1s_gelu_is_the_tanh_form():
    _, model = to_model_config({"model_type": "openai-gpt", "afn": "gelu"})
    assert model.feed_forward.kind == "gelu"


def test_older_files_say_rope_theta():
    _, model = to_model_config(LLAMA | {"rope_theta": 500.0, "rope_scaling": None})
    assert model.position == c.Rotary(theta=500.0)


REFUSED = {
    "another architecture": ({"model_type": "mamba"}, "model_type='mamba'"),
    "no architecture": ({}, "model_type=None"),
    "another activation": (GPT2 | {"activation_function": "relu"}, "activation_function='relu'"),
    "GPT-1's swish": (
        {"model_type": "openai-gpt", "afn": "swish"},
        "afn='swish'.* afn='gelu' only",
    ),
    "inverse layer scaling": (
        GPT2 | {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx=True",
    ),
    "unscaled attention": (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights=False"),
    "a sliding window": (LLAMA | {"sliding_window": 128}, "sliding_window=128"),
    "quantisation": (LLAMA | {"quantization_config": {"bits": 4}}, "quantization_config="),
    "windows by another name": (LLAMA | {"layer_types": ["sliding_attention"]}, "layer_types="),
    "attention in both directions": (GPT2 | {"is_causal": False}, "is_causal=False"),
    "scaled rotary positions": (
        LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "rope_scaling=.*linear",
    ),
    "a share of rotary positions, at the top": (
        LLAMA | {"partial_rotary_factor": 0.5},
        "partial_rotary_factor=0.5",
    ),
    "a share of rotary positions": (
        LLAMA | {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "rope_parameters=.*partial_rotary_factor",
    ),
    "unequal dropout": (GPT2 | {"attn_pdrop": 0.3}, "embd_pdrop=0.1, attn_pdrop=0.3"),
    "heads that do not divide": (GPT2 | {"n_head": 7}, "n_embd=768 must be a multiple of n_head=7"),
    "a width of no number": (GPT2 | {"n_layer": "many"}, "does not describe a model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_zoo_does_not_do_is_refused_by_name(name):
    config, message = REFUSED[name]
    with pytest.raises(CheckpointError, match=message):
        to_model_config(config)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "openai-gpt"},
        GPT2 | {"n_inner": 29, "activation_function": "gelu"},
        LLAMA | {"num_key_value_heads": 1, "mlp_bias": True, "rope_theta": 500.0},
        LLAMA
        | {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
        },
    ],
)
def test_there_and_back_is_the_same_model(config):
    name, model = to_model_config(config)
    again, back = to_model_config(to_hf_config(model)[1])
    assert again == name == config["model_type"]
    assert dataclasses.replace(back, init=model.init) == model


LACKING = {
    "PaLM": (samples.PALM, r"model\.layout is 'parallel' here"),
    "bands": (
        dataclasses.replace(
            configs.get("gpt2_124m").model,
            attention=c.Attention(num_heads=12, num_kv_heads=12, head_dim=64, windows=(None, 8)),
        ),
        r"nearest, gpt2, differs: model\.attention\.windows is \[None, 8\] here",
    ),
    "GPT-2 with wide heads": (
        dataclasses.replace(
            configs.get("gpt2_124m").model,
            attention=c.Attention(num_heads=12, num_kv_heads=12, head_dim=32),
        ),
        r"model\.attention\.head_dim is 32 here and 64 there",
    ),
    "relative positions": (
        dataclasses.replace(to_model_config(LLAMA)[1], position=c.Relative()),
        r"model\.position\.type is 'Relative' here",
    ),
}


@pytest.mark.parametrize("name", LACKING)
def test_choices_that_hugging_face_lacks_are_named(name):
    model, message = LACKING[name]
    with pytest.raises(c.ConfigError, match=message):
        to_hf_config(model)
