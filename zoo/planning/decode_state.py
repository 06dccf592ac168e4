"""The shardings of a decode state, read from the annotations of its fields.

A plan has shapes instead of arrays, and the dataclasses of a state hold arrays. Outside of a traced
function the state is therefore a dict of its fields, nested like the dataclasses.
"""

import dataclasses
import typing
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import AbstractArray

from zoo.distribution.sharding import AnyMesh, Rules

AXIS_OF_LETTER = {
    "B": "batch",
    "N": "heads",
    "K": "kv_heads",
    "H": "head_dim",
    "E": None,
    # Every device has all cells, positions and logits of its sequences.
    "C": None,
    "S": None,
    "T": None,
    "V": None,
}
"""The logical axis for each letter of `models/axes.py`; None is not sharded."""


def to_fields(state: Any) -> dict[str, Any]:
    """Return a dataclass as a dict of its fields, with every dataclass inside it a dict too."""

    def convert(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(convert, value))
        return to_fields(value) if dataclasses.is_dataclass(value) else value

    return {field.name: convert(getattr(state, field.name)) for field in dataclasses.fields(state)}


def from_fields(kind: type, fields: dict[str, Any]) -> Any:
    """Invert `to_fields`: return an instance of the dataclass `kind`."""

    def convert(annotation: Any, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(convert(typing.get_args(annotation)[0], item) for item in value)
        return from_fields(annotation, value) if isinstance(value, dict) else value

    annotations = typing.get_type_hints(kind)
    return kind(**{name: convert(annotations[name], value) for name, value in fields.items()})


def shard_fields(kind: type, fields: dict[str, Any], mesh: AnyMesh, rules: Rules) -> dict[str, Any]:
    """Return the abstract arrays among the fields of `kind` with their shardings.

    Raises TypeError if the annotation of a field does not name the axes of its array.
    """

    def shard(name: str, annotation: Any, value: Any) -> Any:
        if isinstance(value, tuple):
            (item_annotation, *_) = typing.get_args(annotation)
            return tuple(shard(name, item_annotation, item) for item in value)
        if isinstance(value, dict):
            return shard_fields(annotation, value, mesh, rules)
        if value is None:
            return None
        axes = _logical_axes(f"{kind.__name__}.{name}", annotation)
        spec = PartitionSpec(*(None if axis is None else dict(rules)[axis] for axis in axes))
        sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)

    annotations = typing.get_type_hints(kind)
    return {name: shard(name, annotations[name], value) for name, value in fields.items()}


def _logical_axes(name: str, annotation: Any) -> list[str | None]:
    """Return the logical axes of a field such as `Float[Array, "B V"]`, which may also be None."""
    for option in typing.get_args(annotation) or [annotation]:
        if isinstance(option, type) and issubclass(option, AbstractArray):
            letters = option.dim_str.split()
            if set(letters) <= set(AXIS_OF_LETTER):
                return [AXIS_OF_LETTER[letter] for letter in letters]
    raise TypeError(
        f"{name} is annotated as {annotation}, which does not name the axes of an array; use the "
        f"letters {' '.join(AXIS_OF_LETTER)}"
    )
