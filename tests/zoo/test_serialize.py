"""Configs to JSON and back."""

import dataclasses
import json

import pytest

import configs
from data.config import Data
from models.config import ConfigError
from zoo import serialize


@pytest.mark.parametrize("name", configs.MODELS)
def test_every_model_survives_json(name: str):
    experiment = configs.MODELS[name]
    text = json.dumps(serialize.to_json(experiment))
    assert serialize.from_json(json.loads(text)) == experiment


def test_values_other_than_the_defaults_survive_too():
    experiment = dataclasses.replace(
        configs.get("gpt2_124m"), data=Data(files="a/*.txt", seed=7), seed=3, keep=5
    )
    assert serialize.from_json(serialize.to_json(experiment)) == experiment


def test_differences_have_dotted_names_and_both_values():
    old = configs.get("palm_nano")
    new = dataclasses.replace(
        old,
        num_steps=7,
        model=dataclasses.replace(old.model, biases=("qkv",)),
        optimizer=dataclasses.replace(old.optimizer, beta1=0.5),
    )
    assert serialize.differences(serialize.to_json(old), serialize.to_json(new)) == {
        "num_steps": (old.num_steps, 7),
        "model.biases": ([], ["qkv"]),
        "optimizer.beta1": (0.9, 0.5),
    }
    assert serialize.differences(serialize.to_json(old), serialize.to_json(old)) == {}


def test_another_choice_differs_in_its_type():
    palm, gpt2 = (serialize.to_json(configs.get(name)) for name in ("palm_nano", "gpt2_124m"))
    found = serialize.differences(palm, gpt2)
    assert found["model.position.type"] == ("Rotary", "Learned")
    assert found["optimizer.type"] == ("Adafactor", "AdamW")


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: saved["model"].update(type="Perceptron"),
        lambda saved: saved["model"].update(num_lairs=3),
        lambda saved: saved["model"].pop("d_model"),
        lambda saved: saved["model"].pop("type"),
    ],
    ids=["unknown type", "unknown field", "missing field", "missing type"],
)
def test_a_config_of_another_version_is_a_config_error(damage):
    saved = serialize.to_json(configs.get("palm_nano"))
    damage(saved)
    with pytest.raises(ConfigError, match="does not fit this version"):
        serialize.from_json(saved)
