"""Matrices of int8, and models that hold them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import int8
from models.int8 import Int8Matrix, to_int8
from models.transformer import Transformer
from tests.models import samples

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(11, 7)).astype(np.float32) * np.logspace(-3, 3, 11)[:, None]


def in_int8(model: Transformer) -> Transformer:
    model = nnx.clone(model)
    model.store_as_int8()
    return model


def rounded(matrix: np.ndarray, out_axes: tuple[int, ...]) -> np.ndarray:
    """The nearest matrix of 255 equidistant values per index of `out_axes`, by NumPy alone."""
    in_axes = tuple(axis for axis in range(matrix.ndim) if axis not in out_axes)
    scale = np.abs(matrix).max(axis=in_axes, keepdims=True) / 127
    return np.round(matrix / scale) * scale


def test_an_entry_moves_by_half_a_scale_at_most_and_the_largest_not_at_all():
    found = to_int8(jnp.asarray(MATRIX))
    assert found.values.dtype == jnp.int8
    restored = np.asarray(found.values) * np.asarray(found.scales)[:, None]
    assert (np.abs(restored - MATRIX) <= np.asarray(found.scales)[:, None] * 0.5001).all()
    largest = np.abs(MATRIX).argmax(axis=1)
    rows = np.arange(11)
    np.testing.assert_allclose(restored[rows, largest], MATRIX[rows, largest], rtol=1e-6)


def test_a_row_of_zeros_stays_zero():
    found = to_int8(jnp.zeros((2, 3)))
    assert not np.asarray(found.values).any()
    assert np.isfinite(np.asarray(found.scales)).all()


@pytest.mark.parametrize("num_rows", [1, 3, int8.FEW_ROWS + 1])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_product_is_that_of_the_numbers(num_rows: int, dtype):
    """Few rows and many, with a row of zeros, round as float32 does."""
    x = RANDOM.normal(size=(num_rows, 70)) * np.logspace(-2, 2, num_rows)[:, None]
    x[-1] *= num_rows < 3  # a row of zeros
    x = jnp.asarray(x, dtype)
    values = RANDOM.integers(-127, 128, (11, 70)).astype(np.int8)
    found = jax.jit(int8.product)(x, values)
    assert found.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    sizes = np.abs(exact).max(axis=1, keepdims=True) * np.abs(values).sum(axis=1)
    assert (np.abs(found - exact @ values.astype(np.float64).T) <= 1.2e-7 * sizes).all()


def test_the_longest_sums_do_not_overflow():
    num_in = 133_143
    assert 127**2 * num_in < 2**31
    found = int8.product(jnp.ones((1, num_in)), jnp.full((2, num_in), 127, jnp.int8))
    np.testing.assert_allclose(found, 127 * num_in, rtol=1e-6)


def test_an_accelerator_converts_the_values():
    shapes = jax.ShapeDtypeStruct((1, 7), jnp.bfloat16), jax.ShapeDtypeStruct((11, 7), jnp.int8)
    program = jax.jit(int8.product).trace(*shapes).lower(lowering_platforms=("tpu",)).as_text()
    (line,) = [line for line in program.splitlines() if "dot_general" in line]
    assert "(tensor<1x7xbf16>, tensor<11x7xbf16>) -> tensor<1x11xf32>" in line


@pytest.mark.parametrize("name", ["gpt1", "gpt3", "gopher", "palm", "llama_gqa"])
def test_a_model_in_int8_is_the_model_with_rounded_matrices(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    expected = nnx.clone(model)
    matrices = [expected.embedding]
    matrices += [] if expected.unembedding is None else [expected.unembedding]
    for table in matrices:
        table[...] = jnp.asarray(rounded(np.asarray(table[...]), (0,)))
    for path, param in nnx.to_flat_state(nnx.state(expected, nnx.Param)):
        if path[-1] == "kernel":
            num_in = 2 if "output" in path else 1
            out_axes = (0, *range(1 + num_in, param.ndim))  # axis 0 is the stack of layers
            param[...] = jnp.asarray(rounded(np.asarray(param[...]), out_axes))
    tokens = samples.random_tokens(config, batch_size=2, seq_len=11)
    found = samples.logits(in_int8(model), tokens)
    np.testing.assert_allclose(found, samples.logits(expected, tokens), rtol=1e-4, atol=1e-4)
    assert np.abs(found - samples.logits(model, tokens)).max() > 1e-3


def test_every_matrix_that_a_token_reads_whole_is_int8():
    params = nnx.state(in_int8(samples.random_model(samples.GPT2)), nnx.Param)
    kinds = {path[-1]: type(param.get_value()) for path, param in nnx.to_flat_state(params)}
    assert kinds.pop("kernel") is kinds.pop("embedding") is Int8Matrix
    assert Int8Matrix not in kinds.values()
