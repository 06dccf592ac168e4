"""Configs to JSON and back."""

import dataclasses
import json
from fractions import Fraction

import pytest

import configs
from configs.experiment import Mesh
from data.config import Data, Files, Mixture, PaperMixture, Part, Task
from models.config import ConfigError
from zoo.common import serialize


@pytest.mark.parametrize("name", configs.MODELS)
def test_every_model_survives_json(name: str):
    experiment = configs.MODELS[name]
    text = json.dumps(serialize.to_json(experiment))
    assert serialize.from_json(json.loads(text)) == experiment


def test_values_other_than_the_defaults_survive_too():
    experiment = dataclasses.replace(
        configs.get("gpt2_124m"), data=Data(source=Files("a/*.txt"), seed=7), seed=3, keep=5
    )
    assert serialize.from_json(serialize.to_json(experiment)) == experiment


@pytest.mark.parametrize(
    "source",
    [
        Task("t", "m", "d"),
        Mixture.parse(["stdlib=0.3", "a/*.txt=1/7"]),
        PaperMixture(configs.FAMILIES["gpt3"].PAPER.mixture, "d"),
    ],
    ids=["task", "mixture", "paper"],
)
def test_every_source_of_text_survives_json(source):
    data = Data(source=source)
    assert serialize.from_json(json.loads(json.dumps(serialize.to_json(data)))) == data


OLD_DATA = """{"type": "Data", "task": "stdlib", "files": null, "mixture": [], "module": null,
    "field": "text", "separator": null, "on_error": "stop", "data_dir": null, "vocabulary": null,
    "streaming": false, "packing": "split", "seed": 0, "allow_change": false, "cache_dir": null}"""
"""As version 0.1.0 wrote it until commit 98d5c7f."""


@pytest.mark.parametrize(
    ("change", "source"),
    [
        ({}, Task()),
        (
            {"task": "mine", "module": "my_tasks", "data_dir": "gs://sets", "field": "body"},
            Task("mine", "my_tasks", "gs://sets"),
        ),
        (
            {"task": "mine", "files": "a/*.jsonl", "field": "body", "on_error": "skip"},
            Files("a/*.jsonl", field="body", on_error="skip"),
        ),
        ({"files": "a/*.txt", "separator": "\\n"}, Files("a/*.txt", separator="\\n")),
        (
            {"files": "b", "mixture": ["stdlib=0.3", "a/*.txt=1"], "field": "f", "data_dir": "d"},
            Mixture(
                (
                    Part(Task("stdlib", data_dir="d"), Fraction(3, 10)),
                    Part(Files("a/*.txt", field="f"), Fraction(1)),
                )
            ),
        ),
    ],
    ids=["default", "task", "files", "separator", "mixture"],
)
def test_the_flat_source_of_version_0_1_0_is_read(change, source):
    old = json.loads(OLD_DATA) | change | {"packing": "whole", "seed": 7, "cache_dir": "c"}
    expected = Data(source=source, packing="whole", seed=7, cache_dir="c")
    assert serialize.from_json(old) == expected
    experiment = serialize.to_json(configs.get("palm_nano")) | {"data": old}
    assert serialize.from_json(experiment).data == expected


@pytest.mark.parametrize(
    ("pipeline", "accumulated", "in_flight"), [(None, 8, None), (1, 8, None), (4, 1, 8)]
)
def test_the_micro_batches_of_version_0_1_0_are_accumulated_or_a_pipelines(
    pipeline, accumulated, in_flight
):
    experiment = dataclasses.replace(
        configs.get("palm_nano"), micro_batches=8, mesh=Mesh(pipeline=pipeline)
    )
    old = serialize.to_json(experiment)
    del old["mesh"]["pipeline_micro_batches"]
    read = serialize.from_json(old)
    assert (read.micro_batches, read.mesh.pipeline_micro_batches) == (accumulated, in_flight)
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
        lambda saved: saved["model"].update(type=[]),
        lambda saved: saved["model"].update(d_model="256"),
        lambda saved: saved["model"].update(d_model=True),
        lambda saved: saved["model"].update(vocab_size=10**30),
        lambda saved: saved["model"].update(biases="qkv"),
        lambda saved: saved.update(model=saved["mesh"]),
        lambda saved: saved.update(seed={"type": "Fraction", "numerator": 1, "denominator": 0}),
    ],
    ids=[
        "unknown type",
        "unknown field",
        "missing field",
        "missing type",
        "a type that is a list",
        "text for a number",
        "true for a number",
        "a number beyond 64 bits",
        "text for a list",
        "another part",
        "a division by zero",
    ],
)
def test_a_config_of_another_version_is_a_config_error(damage):
    saved = serialize.to_json(configs.get("palm_nano"))
    damage(saved)
    with pytest.raises(ConfigError, match="does not fit this version"):
        serialize.from_json(saved)
