"""Norms against their formulas."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from models import config as c
from models.norms import Norm
from tests.models import samples
from tests.reference import parts

SCALE = np.linspace(-1, 2, 17)
BIAS = np.linspace(0.5, -0.5, 17)
X = np.random.default_rng(0).normal(3, 0.2, size=(5, 7, 17))


def norm(choice: c.LayerNorm | c.RMSNorm, biases: tuple[c.Bias, ...] = ()) -> Norm:
    made = Norm(dataclasses.replace(samples.PALM, norm=choice, biases=biases))
    made.scale[...] = jnp.asarray(SCALE, jnp.float32)
    if made.bias is not None:
        made.bias[...] = jnp.asarray(BIAS, jnp.float32)
    return made


@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_norms_equal_their_formulas(eps: float):
    x = jnp.asarray(X, jnp.float32)
    for ours, theirs in [
        (norm(c.LayerNorm(eps=eps)), parts.layer_norm(X, SCALE, eps=eps)),
        (norm(c.LayerNorm(eps=eps), ("norm",)), parts.layer_norm(X, SCALE, BIAS, eps)),
        (norm(c.RMSNorm(eps=eps)), parts.rms_norm(X, SCALE, eps)),
    ]:
        np.testing.assert_allclose(ours(x), theirs, rtol=1e-4, atol=1e-4)


def test_only_layer_norm_may_have_a_bias():
    assert norm(c.LayerNorm(), ("norm",)).bias is not None
    assert norm(c.LayerNorm(), ("qkv",)).bias is None
    assert norm(c.RMSNorm(), ("norm",)).bias is None


def test_bfloat16_input_is_normalised_in_float32():
    x = jnp.asarray(X, jnp.bfloat16)
    normed = norm(c.LayerNorm(eps=1e-6))(x)
    assert normed.dtype == jnp.bfloat16
    # Only the input and the result are rounded, each to 8 bits.
    exact = parts.layer_norm(np.asarray(x, np.float64), SCALE, eps=1e-6)
    np.testing.assert_allclose(np.asarray(normed, np.float64), exact, rtol=2**-8, atol=1e-3)
