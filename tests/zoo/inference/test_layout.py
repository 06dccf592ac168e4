"""The layout for decoding: the same function, with one array per layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.execution import Execution
from models.transformer import FLOAT32, Transformer
from tests.models import samples
from zoo.inference.layout import graphdef_by_layer, params_by_layer
from zoo.inference.weights import hold


def by_layer(model: Transformer, execution: Execution = FLOAT32) -> Transformer:
    graphdef = graphdef_by_layer(model.config, execution)
    return nnx.merge(graphdef, params_by_layer(nnx.state(model, nnx.Param), execution))


@pytest.mark.parametrize("name", ["gpt1", "gpt3", "gopher", "palm"])
def test_logits_are_those_of_the_stack(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=2, seq_len=11)
    expected = samples.logits(model, tokens)
    np.testing.assert_allclose(
        samples.logits(by_layer(model), tokens), expected, rtol=1e-5, atol=1e-5
    )


def test_matrices_have_the_precision_of_the_run_and_vectors_their_own():
    execution = Execution(dtype="bfloat16")
    params = nnx.state(by_layer(samples.random_model(samples.GPT2), execution), nnx.Param)
    dtypes = {}
    for path, param in nnx.to_flat_state(params):
        assert path[0] != "layers" or param.ndim + 1 == len(param.get_metadata("out_sharding")) + 1
        dtypes.setdefault(path[-1], set()).add(param.dtype)
    half, full = {jnp.dtype(jnp.bfloat16)}, {jnp.dtype(jnp.float32)}
    assert dtypes["kernel"] == dtypes["embedding"] == dtypes["position_embedding"] == half
    assert dtypes["scale"] == dtypes["bias"] == full


def test_shapes_are_laid_out_as_arrays_are():
    params = nnx.state(samples.random_model(samples.PALM), nnx.Param)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    real, abstract = (params_by_layer(tree, FLOAT32) for tree in (params, shapes))
    assert jax.tree.structure(real) == jax.tree.structure(abstract)
    assert [x.shape for x in jax.tree.leaves(real)] == [x.shape for x in jax.tree.leaves(abstract)]


def test_int8_matrices_are_laid_out_as_they_are():
    config = samples.GPT2
    model = samples.random_model(config)
    params = params_by_layer(hold(nnx.state(model, nnx.Param), "int8", config), FLOAT32)
    kernels = [param for path, param in nnx.to_flat_state(params) if path[-1] == "kernel"]
    assert {leaf.dtype.name for each in kernels for leaf in jax.tree.leaves(each)} == {
        "int8",
        "float32",
    }
    model.store_as_int8()
    tokens = samples.random_tokens(config, batch_size=2, seq_len=11)
    laid_out = nnx.merge(graphdef_by_layer(config, FLOAT32), params)
    expected = samples.logits(model, tokens)
    np.testing.assert_allclose(samples.logits(laid_out, tokens), expected, rtol=1e-5, atol=1e-5)


def test_a_layer_with_a_window_keeps_only_the_cells_that_it_needs():
    config = dataclasses.replace(samples.MODELS["gpt3"], context_length=200)
    cache = samples.random_model(config).empty_cache(1, 200)
    dense, banded = (cells.keys.shape[2] for cells in cache.layers[:2])
    assert (dense, banded) == (256, samples.WINDOW - 1 + 16)


def test_stacks_are_deleted_once_their_layers_are_there():
    """Loading a model then needs the memory of its weights and of one stack, not twice its own."""
    params = nnx.state(samples.random_model(samples.LLAMA), nnx.Param)
    expected = params_by_layer(params, FLOAT32)
    found = params_by_layer(params, FLOAT32, consume=True)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    for path, param in nnx.to_flat_state(params):
        assert param.get_value().is_deleted() == (path[0] == "layers")
