"""Sharding constraints on activations."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AxisType

from models.axes import constrain


def test_without_rules_an_array_is_left_alone():
    x = jnp.ones((2, 3))
    assert constrain(x, "batch", "length") is x


def test_a_name_without_a_rule_is_an_error():
    with nnx.logical_axis_rules((("batch", None),)), pytest.raises(KeyError, match="length"):
        constrain(jnp.ones((2, 3)), "batch", "length")


def test_rules_become_a_sharding_constraint():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh), nnx.logical_axis_rules((("batch", "data"), ("length", None))):
        lowered = jax.jit(lambda x: constrain(x, "batch", "length")).lower(jnp.ones((2, 3)))
    assert "sharding_constraint" in lowered.as_text()
