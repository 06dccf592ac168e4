"""Hugging Face's config.json and the zoo's ModelConfig, each read as the other.

A key that changes the function and has no counterpart in the zoo is refused by name; so is a choice
of the zoo that none of the three architectures has.
"""

import dataclasses
from typing import Any

from models.config import ConfigError, ModelConfig, Normal
from zoo import serialize
from zoo.errors import CheckpointError
from zoo.hf_architectures import ARCHITECTURES, WITHOUT_EFFECT, Architecture, Config


def model_config(config: Config) -> tuple[str, ModelConfig]:
    """The architecture's name and the zoo's model of a config.json.

    Raises CheckpointError for another architecture and for what the zoo's model cannot do.
    """
    name = config.get("model_type")
    if name not in ARCHITECTURES:
        raise CheckpointError(
            f"config.json has model_type={name!r}; the zoo reads {', '.join(ARCHITECTURES)}"
        )
    architecture = ARCHITECTURES[name]
    for key, value in config.items():
        if key in architecture.fixed:
            unfit = value != architecture.fixed[key]
        else:
            unfit = bool(value) and key not in architecture.defaults and key not in WITHOUT_EFFECT
        if unfit:
            expected = architecture.fixed.get(key)
            raise CheckpointError(
                f"config.json has {key}={value!r}, which the zoo's model does not do"
                + (f"; it has {key}={expected!r} only" if key in architecture.fixed else "")
            )
    try:
        return name, architecture.to_ours(architecture.defaults | config)
    except (ConfigError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"config.json does not describe a model: {error}") from error


def hf_config(model: ModelConfig) -> tuple[str, Config]:
    """The architecture and the config.json that say the same as `model`.

    Raises ConfigError with the choices that no architecture has.
    """
    unfit = {
        name: _lost_choices(architecture, model) for name, architecture in ARCHITECTURES.items()
    }
    nearest = min(unfit, key=lambda name: len(unfit[name]))
    if unfit[nearest]:
        raise ConfigError(
            "Hugging Face has no architecture with this model's choices. The nearest, "
            f"{nearest}, differs: {'; '.join(unfit[nearest])}"
        )
    architecture = ARCHITECTURES[nearest]
    named = {"architectures": [architecture.class_name], "model_type": nearest}
    return nearest, named | architecture.to_theirs(model)


def _lost_choices(architecture: Architecture, model: ModelConfig) -> list[str]:
    """What would be another choice after a journey there and back."""

    def as_json(model: ModelConfig) -> Any:
        # How a model is initialised and regularised is not its function.
        model = dataclasses.replace(model, init=Normal(std=1.0), dropout_rate=0.0)
        return serialize.to_json(dataclasses.replace(model, biases=tuple(sorted(model.biases))))

    try:
        back = architecture.to_ours(architecture.defaults | architecture.to_theirs(model))
    except ConfigError as error:
        return [str(error)]
    found = serialize.differences(as_json(model), as_json(back))
    return [
        f"model.{key} is {ours!r} here and {theirs!r} there"
        for key, (ours, theirs) in found.items()
    ]
