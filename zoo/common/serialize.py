"""Configs to JSON and back, without loss: every dataclass carries the name of its type."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from configs import experiment as experiment_config
from configs.experiment import Experiment
from configs.parts import batch_ramps as ramp_config
from configs.parts import objectives as objective_config
from configs.parts import optimizers as optimizer_config
from data import config as data_config
from data.config import Data, Files, Mixture, Task, with_options
from models import config as model_config
from models import execution as execution_config
from models.config import ConfigError

Fields = dict[str, Any]
"""The JSON values of a dataclass's fields by name."""

_TYPES: dict[str, Any] = {
    name: kind
    for module in (
        model_config,
        execution_config,
        data_config,
        optimizer_config,
        objective_config,
        ramp_config,
        experiment_config,
    )
    for name, kind in vars(module).items()
    if dataclasses.is_dataclass(kind)
} | {"Fraction": Fraction}


def to_json(value: Any) -> Any:
    """Return a config as JSON values: a dataclass is an object with its `type`, a tuple a list."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Fraction):
        return {
            "type": "Fraction",
            "numerator": value.numerator,
            "denominator": value.denominator,
        }
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """Invert `to_json`. Raises ConfigError for a type or field of an unknown version."""
    if isinstance(value, dict):
        try:
            kind = value["type"]
            fields = _UPDATES.get(kind, lambda fields: fields)(value)
            items = {name: from_json(item) for name, item in fields.items() if name != "type"}
            check_types(_TYPES[kind], items)
            return _TYPES[kind](**items)
        except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise ConfigError(
                f"the saved config does not fit this version of the zoo: {error}"
            ) from error
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    return value


def check_types(kind: type, items: Fields) -> None:
    """Raise TypeError, which names the field, for a value that its annotation excludes."""
    hints = _hints(kind)
    for name, item in items.items():
        if name in hints and not _fits(item, hints[name]):
            raise TypeError(f"{kind.__name__}.{name}={item!r} is not of type {hints[name]}")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    if kind is Fraction:
        return {"numerator": int, "denominator": int}
    return get_type_hints(kind)


def _fits(item: Any, hint: Any) -> bool:
    """Return whether a value read from JSON has the annotated type; a whole number is a float."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(item, argument) for argument in arguments)
    if origin is Literal:
        return item in arguments
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return isinstance(item, tuple) and all(_fits(part, arguments[0]) for part in item)
        return (
            isinstance(item, tuple)
            and len(item) == len(arguments)
            and all(map(_fits, item, arguments))
        )
    if origin is list:
        return isinstance(item, list) and all(_fits(part, arguments[0]) for part in item)
    if origin is dict:
        return isinstance(item, dict) and all(_fits(part, arguments[1]) for part in item.values())
    if hint is Any:
        return True
    if hint is float:
        return type(item) in (int, float)
    if hint is int:
        return type(item) is int and -(1 << 63) <= item < 1 << 63
    return isinstance(item, hint)


def differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the leaves in which two `to_json` values differ: both values by dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        differing = {}
        for name in old | new:
            dotted = f"{prefix}.{name}" if prefix else name
            differing |= differences(old.get(name), new.get(name), dotted)
        return differing
    return {} if old == new else {prefix: (old, new)}


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a `to_json` config by dotted path.

    The type of a dataclass is at the path of the dataclass, if several types can be there.
    """
    if not isinstance(config, dict):
        yield prefix, config
        return
    if "type" in config and ("." in prefix or prefix == "optimizer"):
        yield prefix, config["type"]
    for name, value in config.items():
        if name != "type":
            yield from leaves(value, f"{prefix}.{name}" if prefix else name)


# --- configs of earlier versions -----------------------------------------------------------------


_FLAT_SOURCE_FIELDS = frozenset(
    ["task", "files", "mixture", "module", "data_dir", "field", "separator", "on_error"]
)


def _data_with_source(fields: Fields) -> Fields:
    """Gather the flat fields of `Data` that named its text into one `source`.

    Version 0.1.0 wrote them until commit 98d5c7f: `mixture` took precedence over `files`, and
    `files` over `task`.
    """
    if "source" in fields:
        return fields
    flat = {name: value for name, value in fields.items() if name in _FLAT_SOURCE_FIELDS}
    if flat.get("mixture"):
        source = Mixture.parse(flat["mixture"])
    elif flat.get("files") is not None:
        source = Files(flat["files"])
    else:
        source = Task(flat.get("task", "stdlib"))
    kept = {name: value for name, value in fields.items() if name not in _FLAT_SOURCE_FIELDS}
    return kept | {"source": to_json(with_options(source, flat))}


def _micro_batches_of_pipeline(fields: Fields) -> Fields:
    """Move the micro-batches of a pipeline from the experiment to its mesh.

    Version 0.1.0 wrote `micro_batches` for both purposes until commit 98d5c7f: through a pipeline
    the micro-batches followed each other, without one their gradients were accumulated.
    """
    mesh = fields["mesh"]
    if "pipeline_micro_batches" in mesh or (mesh["pipeline"] or 1) == 1:
        return fields
    mesh = mesh | {"pipeline_micro_batches": fields["micro_batches"]}
    return fields | {"mesh": mesh, "micro_batches": 1}


_UPDATES: Mapping[str, Callable[[Fields], Fields]] = {
    Data.__name__: _data_with_source,
    Experiment.__name__: _micro_batches_of_pipeline,
}
"""For a type, the function that turns its fields as an earlier version wrote them into today's."""
