"""The shared transformer against NumPy models written from the papers' equations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import config as c
from models.cache import Places
from models.transformer import abstract_params, num_params
from tests.models import samples
from tests.reference import gpt1, gpt2, llama, palm

TOLERANCE = 1e-4


def reference_logits(config: c.ModelConfig, params: dict[str, np.ndarray], tokens) -> np.ndarray:
    match config.layout, config.position:
        case "parallel", c.Rotary(theta=theta):
            return palm.logits(params, tokens, eps=config.norm.eps, theta=theta)
        case "pre_norm", c.Rotary(theta=theta):
            return llama.logits(params, tokens, eps=config.norm.eps, theta=theta)
        case "pre_norm", c.Learned():
            return gpt2.logits(params, tokens)
        case "post_norm", c.Learned():
            return gpt1.logits(params, tokens)
    raise AssertionError(f"no reference for {config}")


@pytest.mark.parametrize("name", samples.MODELS)
def test_logits_equal_the_papers_equations(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    params = samples.to_numpy(nnx.state(model, nnx.Param))
    tokens = samples.random_tokens(config, batch_size=3, seq_len=11)
    ours = samples.logits(model, tokens)
    assert ours.dtype == jnp.float32
    assert ours.shape == (3, 11, config.vocab_size)
    for row, row_tokens in zip(ours, tokens, strict=True):
        theirs = reference_logits(config, params, row_tokens)
        assert theirs.std() > 0.1
        np.testing.assert_allclose(row, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_output_bias_is_added_to_the_logits():
    config = dataclasses.replace(samples.PALM, biases=("logits",))
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=5)
    assert model.logit_bias is not None
    with_bias, bias = samples.logits(model, tokens), model.logit_bias[...]
    model.logit_bias[...] = jnp.zeros_like(bias)
    np.testing.assert_allclose(with_bias, samples.logits(model, tokens) + bias, atol=1e-5)


# --- packed documents --------------------------------------------------------------------------

DOCUMENT_LENGTHS = (5, 2, 11)
PACKED = Places(
    positions=jnp.concatenate([jnp.arange(n) for n in DOCUMENT_LENGTHS])[None],
    segment_ids=jnp.repeat(jnp.arange(1, 4), jnp.array(DOCUMENT_LENGTHS))[None],
)


@pytest.mark.parametrize("name", samples.MODELS)
def test_a_packed_document_has_the_logits_of_the_document_alone(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=sum(DOCUMENT_LENGTHS))
    packed = samples.logits(model, tokens, PACKED)
    start = 0
    for length in DOCUMENT_LENGTHS:
        end = start + length
        alone = samples.logits(model, tokens[:, start:end])
        np.testing.assert_allclose(packed[:, start:end], alone, rtol=1e-5, atol=1e-5)
        start = end


@pytest.mark.parametrize("name", samples.MODELS)
def test_editing_one_packed_document_leaves_the_logits_of_the_others(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=sum(DOCUMENT_LENGTHS))
    edited = tokens.copy()
    edited[:, 5:7] = (edited[:, 5:7] + 1) % config.vocab_size
    before, after = (samples.logits(model, t, PACKED) for t in (tokens, edited))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    np.testing.assert_array_equal(before[:, 7:], after[:, 7:])
    assert jnp.abs(before[:, 5:7] - after[:, 5:7]).min(axis=-1).max() > 1e-4


def test_a_later_token_does_not_change_an_earlier_one():
    model = samples.random_model(samples.LLAMA)
    tokens = samples.random_tokens(samples.LLAMA, batch_size=1, seq_len=11)
    edited = tokens.copy()
    edited[:, 7] = (edited[:, 7] + 1) % samples.LLAMA.vocab_size
    before, after = samples.logits(model, tokens), samples.logits(model, edited)
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert jnp.abs(before[:, 7:] - after[:, 7:]).max(axis=-1).min() > 1e-4


# --- execution: the same function, computed otherwise ------------------------------------------


@pytest.mark.parametrize(
    "execution",
    [c.Execution(remat="dots"), c.Execution(remat="full"), c.Execution(unroll=2)],
    ids=["dots", "full", "unrolled"],
)
def test_remat_and_unrolling_change_neither_logits_nor_gradients(execution: c.Execution):
    config = samples.GPT2
    tokens = jnp.asarray(samples.random_tokens(config, batch_size=2, seq_len=7))

    def value_and_gradient(execution: c.Execution):
        graphdef, params = nnx.split(samples.random_model(config, execution=execution), nnx.Param)

        @jax.jit
        @jax.value_and_grad
        def mean(params: nnx.State):
            hidden, _ = nnx.merge(graphdef, params)(tokens, Places.whole_rows(2, 7))
            return jnp.mean(jnp.sin(hidden))

        value, gradient = mean(params)
        return {"value": np.asarray(value)} | samples.to_numpy(gradient)

    plain, other = value_and_gradient(c.Execution()), value_and_gradient(execution)
    for name in plain:
        np.testing.assert_allclose(other[name], plain[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_bfloat16_computes_in_bfloat16_from_float32_parameters():
    config = samples.PALM
    exact = samples.random_model(config)
    model = samples.random_model(config, execution=c.Execution(dtype="bfloat16"))
    tokens = samples.random_tokens(config, batch_size=2, seq_len=11)
    assert samples.hidden(model, tokens).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    rounded, exact_logits = samples.logits(model, tokens), samples.logits(exact, tokens)
    assert rounded.dtype == jnp.float32
    difference = jnp.abs(rounded - exact_logits).max()
    assert 1e-5 < difference < 0.1 * jnp.abs(exact_logits).max()


def test_dropout_acts_only_with_a_key():
    config = dataclasses.replace(samples.PALM, dropout_rate=0.5)
    dropping, plain = samples.random_model(config), samples.random_model(samples.PALM)
    tokens = samples.random_tokens(config, batch_size=2, seq_len=7)

    def dropped(seed: int):
        return samples.hidden(dropping, tokens, dropout_key=jax.random.key(seed))

    without = samples.hidden(dropping, tokens)
    np.testing.assert_array_equal(without, samples.hidden(plain, tokens))
    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert jnp.abs(dropped(1) - dropped(2)).max() > 0.1
    assert jnp.abs(dropped(1) - without).max() > 0.1


# --- counting ----------------------------------------------------------------------------------


def test_abstract_parameters_are_those_of_the_real_model():
    config = samples.GPT2

    def shapes(params: nnx.State):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)

    real, abstract = samples.initial_params(config), abstract_params(config)
    assert shapes(real) == shapes(abstract)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(abstract))
    assert num_params(config) == sum(value.size for value in samples.to_numpy(real).values())
