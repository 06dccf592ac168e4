"""The tables of config.json's keys, compared with transformers' own config classes and code."""

import dataclasses
import inspect
import re

import numpy as np
import pytest
import transformers
from transformers import cache_utils, masking_utils, modeling_rope_utils, modeling_utils

from models.config import Rotary
from tests.zoo import hf_folders
from zoo.common.errors import CheckpointError
from zoo.hf.architectures import ARCHITECTURES
from zoo.hf.config import ignored_keys, to_model_config
from zoo.hf.keys import WITHOUT_EFFECT

UNREAD = {
    # read when weights are initialised, quantised, compiled or sent to several devices
    "init_std", "initializer_factor", "compile_config", "distributed_config",
    # dropout, which is for training, and heads other than the language model's
    "attention_dropout", "hidden_dropout", "classifier_dropout", "summary_last_dropout",
    # rotary positions, which the GPTs lack, and convolutions, which all three lack
    "head_dim", "number_of_conv_states",
}  # fmt: skip
"""Undeclared keys in shared code that cannot change these three architectures' logits."""


def config_class(architecture: str) -> type[transformers.PretrainedConfig]:
    return type(transformers.AutoConfig.for_model(architecture))


def declared(architecture: str) -> dict[str, object]:
    return {f.name: f.default for f in dataclasses.fields(config_class(architecture))}


def known(architecture: str) -> set[str]:
    table = ARCHITECTURES[architecture]
    return {*table.defaults, *table.aliases, *table.fixed, *WITHOUT_EFFECT}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_key_that_transformers_declares_is_in_one_table(architecture):
    table, theirs = ARCHITECTURES[architecture], declared(architecture)
    assert theirs.keys() <= known(architecture)
    assert table.aliases == config_class(architecture).attribute_map
    assert not table.fixed.keys() & (table.defaults.keys() | WITHOUT_EFFECT)
    assert not table.defaults.keys() & WITHOUT_EFFECT


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_defaults_are_those_of_transformers(architecture):
    table, theirs = ARCHITECTURES[architecture], declared(architecture)
    for key, value in table.defaults.items():
        assert theirs.get(key, value) == value, key
    for key, supported in table.fixed.items():
        assert theirs.get(key, supported[0]) in supported, key


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_code_of_transformers_reads_a_key_that_the_tables_lack(architecture):
    class_name = ARCHITECTURES[architecture].class_name
    model = inspect.getmodule(getattr(transformers, class_name))
    shared = (cache_utils, masking_utils, modeling_rope_utils, modeling_utils)
    read = set()
    for module in (model, *shared):
        assert module is not None
        read |= set(re.findall(r'config, "([a-z_]+)"', inspect.getsource(module)))
    assert "sliding_window" in read  # the expression finds what it looks for
    undeclared = read - declared(architecture).keys() - {"rope_theta"}
    assert undeclared - UNREAD <= known(architecture)


@pytest.mark.parametrize("name", ["gpt1", "gpt2", "llama"])
def test_keys_that_transformers_does_not_know_are_ignored_by_both(name, tmp_path):
    plain = hf_folders.CONFIGS[name]
    strange = {"_model_name_or_path": "SmolLM2", "use_sliding_window": True, "mixture": 8}
    assert ignored_keys(plain) == []
    assert ignored_keys(plain | strange) == list(strange)
    assert to_model_config(plain | strange) == to_model_config(plain)
    tokens = hf_folders.tokens()
    one, other = (
        hf_folders.logits(hf_folders.make(tmp_path / folder, config), tokens)
        for folder, config in (("plain", plain), ("strange", plain | strange))
    )
    np.testing.assert_array_equal(one, other)


def test_an_alias_counts_as_its_key_and_wins_as_in_transformers():
    config = {"model_type": "gpt2", "hidden_size": 96, "n_embd": 768, "num_hidden_layers": 5}
    theirs = transformers.AutoConfig.for_model(**config)
    _, model = to_model_config(config)
    assert (model.d_model, model.num_layers) == (theirs.n_embd, theirs.n_layer) == (96, 5)


def test_rope_scaling_replaces_rope_parameters_as_in_transformers():
    config = {
        "model_type": "llama",
        "rope_theta": 300.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rope_scaling": {"rope_type": "default"},
    }
    theirs = transformers.AutoConfig.for_model(**config)
    _, model = to_model_config(config)
    assert model.position == Rotary(theta=300.0)
    assert theirs.rope_parameters["rope_theta"] == 300.0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_layer", "3", "n_layer='3' is not a whole number"),
        ("n_layer", 3.0, "n_layer=3.0 is not a whole number"),
        ("n_head", True, "n_head=True is not a whole number"),
        ("layer_norm_epsilon", None, "layer_norm_epsilon=None is not a number"),
        ("tie_word_embeddings", "false", "tie_word_embeddings='false' is not true or false"),
        ("n_head", 0, "does not describe a model"),
    ],
)
def test_a_mistyped_value_is_named(key, value, message):
    with pytest.raises(CheckpointError, match=message):
        to_model_config({"model_type": "gpt2", key: value})
