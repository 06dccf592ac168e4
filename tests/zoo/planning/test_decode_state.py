"""The shardings of a decode state, against the axes of its arrays written out."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Array, Float

import configs
from configs.experiment import Mesh
from zoo.distribution.sharding import mesh_shape, rules_for
from zoo.planning.decode_state import from_fields, shard_fields, to_fields

SHAPE = mesh_shape(Mesh(fsdp=2, tensor=2), 4)
MESH = AbstractMesh(tuple(SHAPE.values()), tuple(SHAPE))
RULES = rules_for(configs.get("gpt2_nano"), MESH)


@dataclasses.dataclass(frozen=True)
class Inner:
    keys: Float[Array, "S B K H"]
    absent: Float[Array, " B"] | None


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    logits: Float[Array, "B V"] | None


@dataclasses.dataclass(frozen=True)
class UnknownLetter:
    scores: Float[Array, "B Q"]


@dataclasses.dataclass(frozen=True)
class NoLetters:
    scores: jax.Array


STATE = Outer(Inner(jnp.zeros((8, 4, 2, 3)), None), jnp.zeros((4, 5)))


def test_fields_make_the_state_again():
    fields = to_fields(STATE)
    assert set(fields["inner"]) == {"keys", "absent"}
    again = from_fields(Outer, fields)
    assert (type(again), type(again.inner)) == (Outer, Inner)
    # As dicts, since arrays have no truth value: the same arrays stand in the same fields.
    assert to_fields(again) == fields


def test_every_axis_follows_its_letter():
    sharded = shard_fields(Outer, to_fields(STATE), MESH, RULES)
    keys, logits = sharded["inner"]["keys"], sharded["logits"]
    assert keys.shape == (8, 4, 2, 3)
    assert keys.sharding.spec == PartitionSpec(None, ("data", "fsdp"), "tensor", None)
    assert logits.sharding.spec == PartitionSpec(("data", "fsdp"), None)
    assert sharded["inner"]["absent"] is None


@pytest.mark.parametrize("state", [UnknownLetter(jnp.zeros((4, 5))), NoLetters(jnp.zeros(4))])
def test_a_field_without_axes_is_an_error_and_not_replicated(state):
    name = type(state).__name__
    with pytest.raises(TypeError, match=rf"{name}\.scores .* does not name the axes"):
        shard_fields(type(state), to_fields(state), MESH, RULES)
