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


@pytest.mark.parametrize("block", [1, 20, 77, 2**20])
def test_the_product_does_not_depend_on_the_blocks(block: int, monkeypatch):
    """Blocks of one row, blocks that overlap, and the fewest."""
    monkeypatch.setattr(int8, "BLOCK", block)
    x = RANDOM.normal(size=(3, 7)).astype(np.float32)
    values = to_int8(jnp.asarray(MATRIX)).values
    found = jax.jit(lambda x, values: int8.product(x, values))(x, values)
    np.testing.assert_allclose(found, x @ np.asarray(values, np.float32).T, rtol=1e-5, atol=1e-4)


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
