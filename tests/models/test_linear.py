"""The matrix product and its hand-written gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import config as c
from models.linear import Linear, init_std, matmul, matmul_transposed
from tests.models import samples

AXES = ("embed", "mlp")


def operands(dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return x [B, T, I], a kernel [I, O] in float32 and a cotangent [B, T, O]."""
    rng = np.random.default_rng(0)
    x, kernel, d_out = (rng.normal(size=shape) for shape in ((5, 7, 11), (11, 13), (5, 7, 13)))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, jnp.float32), jnp.asarray(d_out, dtype)


def test_float32_product_and_gradients_equal_autodiff():
    x, kernel, d_out = operands(jnp.float32)
    ours, pullback = jax.vjp(lambda x, w: matmul(x, w, AXES), x, kernel)
    theirs, plain_pullback = jax.vjp(
        lambda x, kernel: jnp.einsum("bti,io->bto", x, kernel), x, kernel
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    for gradient, plain in zip(pullback(d_out), plain_pullback(d_out), strict=True):
        np.testing.assert_allclose(gradient, plain, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_transposed_product_equals_autodiff():
    x, kernel, d_out = operands(jnp.float32)
    ours, pullback = jax.vjp(lambda x, w: matmul_transposed(x, w, AXES), x, kernel.T)
    plain, plain_pullback = jax.vjp(lambda x, w: jnp.einsum("bti,oi->bto", x, w), x, kernel.T)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(pullback(d_out), plain_pullback(d_out), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_product_is_accumulated_in_float32():
    x, kernel, _ = operands(jnp.bfloat16)
    exact = np.asarray(x, np.float64) @ np.asarray(kernel.astype(jnp.bfloat16), np.float64)
    assert matmul(x, kernel, AXES).dtype == jnp.bfloat16
    in_float32 = matmul_transposed(x, kernel.T, AXES)
    assert in_float32.dtype == jnp.float32
    np.testing.assert_allclose(in_float32, exact, rtol=1e-5, atol=1e-5)


def test_bfloat16_weight_gradient_is_never_rounded_to_bfloat16():
    x, kernel, d_out = operands(jnp.bfloat16)
    _, pullback = jax.vjp(lambda x, w: matmul(x, w, AXES), x, kernel)
    d_x, d_kernel = pullback(d_out)
    exact = np.einsum("bti,bto->io", np.asarray(x, np.float64), np.asarray(d_out, np.float64))
    assert d_x.dtype == jnp.bfloat16
    assert d_kernel.dtype == jnp.float32
    np.testing.assert_allclose(d_kernel, exact, rtol=1e-5, atol=1e-5)
    assert np.abs(exact - np.asarray(d_kernel.astype(jnp.bfloat16), np.float64)).max() > 1e-3


@pytest.mark.parametrize("use_bias", [False, True])
def test_linear_contracts_the_axes_of_its_input_shape(use_bias: bool):
    linear = Linear(
        samples.PALM,
        (3, 5),
        (7, 2),
        ("heads", "head_dim", "embed", "mlp"),
        use_bias=use_bias,
        rngs=nnx.Rngs(0),
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(11, 13, 3, 5)), jnp.float32)
    expected = np.einsum("btnh,nhdf->btdf", x, linear.kernel[...])
    if use_bias:
        assert linear.bias is not None
        assert linear.bias.get_metadata("out_sharding") == ("embed", "mlp")
        linear.bias[...] = jnp.arange(14.0).reshape(7, 2)
        expected = expected + np.arange(14.0).reshape(7, 2)
    np.testing.assert_allclose(linear(x), expected, rtol=1e-5, atol=1e-5)


def test_standard_deviation_of_each_role():
    def stds(init: c.Normal | c.FanIn) -> list[float]:
        config = dataclasses.replace(samples.GPT2, init=init, num_layers=8)
        return [
            init_std(config, role, fan_in=25)
            for role in ("kernel", "residual", "embedding", "position")
        ]

    assert stds(c.FanIn(embedding_std=0.7)) == [0.2, 0.2, 0.7, 0.7]
    assert stds(c.Normal(std=0.02)) == [0.02, 0.02, 0.02, 0.02]
    scaled = c.Normal(std=0.02, position_std=0.01, residual="scaled_by_depth")
    assert stds(scaled) == [0.02, 0.005, 0.02, 0.01]
