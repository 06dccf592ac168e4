"""The register of all models."""

import re

import pytest

import configs
from models.config import ConfigError
from models.transformer import num_params


def test_every_model_is_named_after_its_family_and_can_be_built():
    assert len(configs.MODELS) == sum(len(family.FAMILY) for family in configs.FAMILIES.values())
    for name, family in configs.FAMILIES.items():
        for model_name, experiment in family.FAMILY.items():
            assert re.fullmatch(rf"{name}_(nano|small|\d+[mb])", model_name)
            assert configs.get(model_name) is experiment
            assert num_params(experiment.model) > 0


def test_reported_sizes_agree_with_the_names():
    units = {"m": 1e6, "b": 1e9}
    for family in configs.FAMILIES.values():
        for name, reported in family.REPORTED_PARAMS.items():
            size = name.rpartition("_")[2]
            named = float(size[:-1]) * units[size[-1]]
            assert reported == pytest.approx(named, rel=0.1), name


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ConfigError, match=r"'palm_smal' is not in the zoo; did you mean palm_small"):
        configs.get("palm_smal")
    with pytest.raises(ConfigError, match="gpt2_124m"):
        configs.get("zzz")
