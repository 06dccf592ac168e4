"""A Hugging Face architecture, and what all of them have in common."""

import dataclasses
from collections.abc import Callable
from typing import Any

from models.config import FanIn, ModelConfig
from zoo.common.errors import CheckpointError

Config = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A Hugging Face architecture, and its translation to and from a ModelConfig."""

    class_name: str
    divided: tuple[str, str]
    """Two keys; the value of the first must be a multiple of the value of the second."""
    aliases: dict[str, str]
    """Other names of keys that `to_ours` reads; where both are given, the alias counts."""
    defaults: Config
    """The defaults of the keys that `to_ours` reads."""
    fixed: dict[str, tuple[Any, ...]]
    """Further keys that change the function, with the values that the zoo supports."""
    to_ours: Callable[[Config], ModelConfig]
    to_theirs: Callable[[ModelConfig], Config]


FIXED: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    # No config class of the three declares these, and yet transformers' shared code reads them.
    "is_causal": (True,),
    "sliding_window": (None,),
    "attention_chunk_size": (None,),
    "layer_types": (None,),
    "kv_sharing_modes": (None,),
    "per_layer_config": (None,),
    "quantization_config": (None,),
    "fusion_config": (None,),
    "transformers_weights": (None,),
    # Versions of transformers before 5 remove these heads.
    "pruned_heads": ({}, None),
}


def dropout_rate(config: Config, *keys: str) -> float:
    """Return the one dropout rate; raise CheckpointError if the rates of the keys differ."""
    rates = {key: config[key] for key in keys}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{key}={rate}" for key, rate in rates.items())
        raise CheckpointError(
            f"config.json has {listed}; the zoo has one dropout rate for all; make them "
            "equal in config.json, since they matter for training only"
        )
    return float(next(iter(rates.values())))


def std(model: ModelConfig) -> float:
    """Return the standard deviation of the model's initial matrices."""
    return 0.02 if isinstance(model.init, FanIn) else model.init.std
