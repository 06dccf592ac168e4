"""Translate Hugging Face's config.json to a ModelConfig, and back.

A key that changes the function and has no counterpart in the zoo is an error that names it. So is a
choice of the zoo that none of the architectures has. A key that `transformers` does not know
for the architecture is ignored.
"""

import dataclasses
from typing import Any

from models.config import ConfigError, ModelConfig, Normal
from zoo.common import serialize
from zoo.common.errors import CheckpointError
from zoo.hf.architecture import Architecture, Config
from zoo.hf.architectures import ARCHITECTURES
from zoo.hf.keys import unknown_keys, with_defaults


def to_model_config(config: Config) -> tuple[str, ModelConfig]:
    """Return the name of the architecture, and the zoo's model, of a config.json.

    Raises CheckpointError for another architecture and for what the zoo's model does not support.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise CheckpointError(
            f"config.json has model_type={name!r}; the zoo reads {', '.join(ARCHITECTURES)}"
        )
    architecture = ARCHITECTURES[name]
    # The class of the model, which changes no other key, tells which heads an encoder has.
    values = with_defaults(architecture, config) | {"architectures": config.get("architectures")}
    try:
        problems = _indivisible(architecture, values)
        model = architecture.to_ours(values)
    except (ConfigError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        problems, model = [str(error)], None
    if model is None or problems:
        raise CheckpointError(f"config.json does not describe a model: {'; '.join(problems)}")
    return name, model


def ignored_keys(config: Config) -> list[str]:
    """Return the keys of a config.json that `to_model_config` ignores as unknown."""
    return unknown_keys(ARCHITECTURES[config["model_type"]], config)


def to_hf_config(model: ModelConfig) -> tuple[str, Config]:
    """Return the name of the architecture, and the config.json, that compute the same as `model`.

    Raises ConfigError with the choices that no architecture has.
    """
    lost = {
        name: _lost_choices(architecture, model) for name, architecture in ARCHITECTURES.items()
    }
    losses = {name: choices for name, choices in lost.items() if choices is not None}
    nearest = min(losses, key=lambda name: len(losses[name]))
    if losses[nearest]:
        raise ConfigError(
            "Hugging Face has no architecture with this model's choices; the nearest, "
            f"{nearest}, differs: {'; '.join(losses[nearest])}"
        )
    architecture = ARCHITECTURES[nearest]
    named = {"architectures": [architecture.class_name], "model_type": nearest}
    return nearest, named | architecture.to_theirs(model)


def _lost_choices(architecture: Architecture, model: ModelConfig) -> list[str] | None:
    """List the choices that a round trip through the architecture would change.

    None if the way back fails.
    """

    def as_json(model: ModelConfig) -> Any:
        # Initialisation and regularisation do not change the model's function.
        model = dataclasses.replace(
            model, init=Normal(std=1.0), dropout_rate=0.0, embedding_dropout="vectors"
        )
        return serialize.to_json(dataclasses.replace(model, biases=tuple(sorted(model.biases))))

    theirs = architecture.defaults | architecture.to_theirs(model)
    try:
        back = architecture.to_ours(theirs)
    except ConfigError:
        return None
    changes = serialize.differences(as_json(model), as_json(back))
    lost = [
        f"model.{key} is {here!r} here and {there!r} there"
        for key, (here, there) in changes.items()
    ]
    return lost + _indivisible(architecture, theirs)


def _indivisible(architecture: Architecture, config: Config) -> list[str]:
    width, heads = architecture.divided
    if config[width] % config[heads] == 0:
        return []
    return [f"{width}={config[width]} must be a multiple of {heads}={config[heads]}"]
