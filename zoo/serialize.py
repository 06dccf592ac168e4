"""Configs to JSON and back, without loss: every dataclass carries its type's name."""

import dataclasses
from typing import Any

from configs import experiment as zoo_config
from data import config as data_config
from models import config as model_config
from models.config import ConfigError

_TYPES: dict[str, Any] = {
    name: kind
    for module in (model_config, data_config, zoo_config)
    for name, kind in vars(module).items()
    if dataclasses.is_dataclass(kind)
}


def to_json(value: Any) -> Any:
    """A config as JSON values: a dataclass is an object with its `type`, a tuple a list."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`. A type or field of another version is a ConfigError."""
    if isinstance(value, dict):
        fields = {name: from_json(item) for name, item in value.items() if name != "type"}
        try:
            return _TYPES[value["type"]](**fields)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"the saved config does not fit this version of the zoo: {error}"
            ) from error
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    return value


def differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted names of the leaves in which two `to_json` values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = {}
        for name in old | new:
            dotted = f"{prefix}.{name}" if prefix else name
            found |= differences(old.get(name), new.get(name), dotted)
        return found
    return {} if old == new else {prefix: (old, new)}
