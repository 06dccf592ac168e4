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
            assert re.fullmatch(rf"{name}_(nano|small|\w+[mb])", model_name)
            assert configs.get(model_name) is experiment
            assert num_params(experiment.model) > 0


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(
        ConfigError, match=r"'palm_smal' is not in the zoo; did you mean palm_small"
    ):
        configs.get("palm_smal")
    with pytest.raises(ConfigError, match="gpt2_124m"):
        configs.get("zzz")
