"""Attention: grouped heads, the mask, and decoding with a cache."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.attention.blocks import LARGEST_BLOCK, SMALLEST_BLOCK
from models.attention.cache import BLOCK
from models.attention.layer import Attention
from models.execution import Execution, Kernel
from models.positions import Positions, causal_mask
from models.transformer import Transformer
from tests.models import samples


@functools.partial(jax.jit, static_argnums=(0, 5))
def step(graphdef, params, tokens, positions, cache, cache_length: int):
    """The first tokens come without a cache."""
    model: Transformer = nnx.merge(graphdef, params)
    cache = model.empty_cache(tokens.shape[0], cache_length) if cache is None else cache
    hidden, cache = model(tokens, positions, cache=cache)
    return model.logits(hidden), cache


def decode(model: Transformer, tokens, positions: Positions, chunks: list[int]) -> tuple:
    """Return the logits of all tokens, decoded in chunks of these lengths, and the cache."""
    graphdef, params = nnx.split(model, nnx.Param)
    seq_len = tokens.shape[1]
    assert sum(chunks) == seq_len
    cache, logits_of_chunks, start = None, [], 0
    for length in chunks:
        columns = slice(start, start + length)
        # NumPy slices because JAX would compile every slice.
        chunk = jax.tree.map(lambda x, at=columns: jnp.asarray(np.asarray(x)[:, at]), positions)
        logits, cache = step(graphdef, params, tokens[:, columns], chunk, cache, seq_len + 2)
        logits_of_chunks.append(logits)
        start += length
    return jnp.concatenate(logits_of_chunks, axis=1), cache


@pytest.mark.parametrize(
    "chunks",
    [[1] * 13, [7, 1, 1, 1, 1, 1, 1], [7, 5, 1]],
    ids=["one_by_one", "prefill", "in_two_chunks"],
)
@pytest.mark.parametrize("name", samples.MODELS)
def test_decoding_with_a_cache_equals_the_full_forward_pass(name: str, chunks: list[int]):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=13)
    decoded, cache = decode(model, tokens, Positions.whole_rows(3, 13), chunks)
    np.testing.assert_allclose(decoded, samples.logits(model, tokens), rtol=1e-4, atol=1e-4)
    assert cache.length == 13
    assert all(jnp.all(cells.keys[:, :, 13:] == 0) for cells in cache.layers)


@pytest.mark.parametrize("name", ["gopher", "llama_gqa"])
def test_tokens_appended_across_a_block_of_the_cache_see_the_same(name: str):
    prompt, new = BLOCK - 3, 8
    config = dataclasses.replace(samples.MODELS[name], context_length=prompt + new)
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=2, seq_len=prompt + new)
    decoded, _ = decode(model, tokens, Positions.whole_rows(2, prompt + new), [prompt, new])
    np.testing.assert_allclose(decoded, samples.logits(model, tokens), rtol=1e-4, atol=1e-4)


def test_a_model_trained_with_another_kernel_decodes_with_the_one_for_every_prompt():
    config = samples.MODELS["llama_gqa"]
    tokens = samples.random_tokens(config, batch_size=2, seq_len=9)
    positions = Positions.whole_rows(2, 9)
    kernels: list[Kernel] = ["xla", "splash"]
    models = [
        samples.random_model(config, execution=Execution(dtype="float32", attention=kernel))
        for kernel in kernels
    ]
    expected, found = (decode(model, tokens, positions, [7, 1, 1])[0] for model in models)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "window"), [("gopher", None), ("llama_gqa", None), ("gpt3", 5), ("gpt3", 131)]
)
def test_prefill_of_several_blocks_equals_the_full_forward_pass(name: str, window: int | None):
    prompt = (SMALLEST_BLOCK if window else LARGEST_BLOCK) + 7
    config = samples.MODELS[name]
    heads = dataclasses.replace(config.attention, windows=(window,))
    config = dataclasses.replace(config, attention=heads, context_length=prompt + 3)
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=prompt + 3)
    positions = Positions.whole_rows(*tokens.shape)
    decoded, _ = decode(model, tokens, positions, [prompt, 1, 1, 1])
    np.testing.assert_allclose(decoded, samples.logits(model, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", samples.MODELS)
def test_left_padded_prompts_of_different_lengths_decode_as_if_alone(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=13)
    lengths = np.array([13, 8, 11])  # prompts of 7, 2 and 5 tokens, and 6 more
    positions = np.arange(13) - (13 - lengths[:, None])
    positions = Positions(
        jnp.asarray(np.maximum(positions, 0)), jnp.asarray((positions >= 0).astype(np.int32))
    )
    decoded, _ = decode(model, tokens, positions, [7, 1, 1, 1, 1, 1, 1])
    for row, length in enumerate(lengths):
        alone = samples.reference_logits(name, model, tokens[row, 13 - length :])
        np.testing.assert_allclose(decoded[row, 13 - length :], alone, rtol=1e-4, atol=1e-4)


def test_an_empty_cell_of_the_cache_is_attended_to_by_no_token():
    cache = samples.random_model(samples.PALM).empty_cache(1, 5)
    query = Positions(jnp.array([[3]]), jnp.array([[1]]))
    assert not causal_mask(query, cache.positions).any()


def test_mask_is_causal_within_each_document():
    positions = Positions(
        index=jnp.array([[0, 1, 0, 1, 2, 0]]), segment_ids=jnp.array([[1, 1, 2, 2, 2, 0]])
    )
    expected = np.zeros((6, 6), bool)
    expected[:2, :2] = np.tri(2, dtype=bool)
    expected[2:5, 2:5] = np.tri(3, dtype=bool)
    expected[5, 5] = True
    np.testing.assert_array_equal(causal_mask(positions, positions)[0], expected)


@pytest.mark.parametrize("num_kv_heads", [1, 3])
def test_grouped_queries_are_multi_head_attention_with_repeated_keys_and_values(num_kv_heads: int):
    config = samples.MODELS["llama_gqa"]
    heads = dataclasses.replace(config.attention, num_kv_heads=num_kv_heads)
    grouped = samples.random_model(dataclasses.replace(config, attention=heads))
    all_heads = dataclasses.replace(heads, num_kv_heads=heads.num_heads)
    full = samples.random_model(dataclasses.replace(config, attention=all_heads))

    params = nnx.to_flat_state(nnx.state(grouped, nnx.Param))
    repeated = []
    for path, param in params:
        if path[1:] in [("attention", "key", "kernel"), ("attention", "value", "kernel")]:
            repeats = heads.num_heads // num_kv_heads
            param = param.replace(jnp.repeat(param[...], repeats, axis=2))  # L D K H
        repeated.append((path, param))
    nnx.update(full, nnx.from_flat_state(repeated))

    tokens = samples.random_tokens(config, batch_size=2, seq_len=7)
    ours, theirs = samples.logits(grouped, tokens), samples.logits(full, tokens)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt1", "gpt3", "gopher", "palm", "llama_gqa"])
def test_attention_weights_are_those_with_which_a_layer_sums_its_values(name: str, monkeypatch):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    positions = Positions.whole_rows(2, 11)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 11, config.d_model)), jnp.float32)
    seen = []
    attend = Attention.__call__

    def recorded(self, x, *context):
        mixed, past = attend(self, x, *context)
        seen.append((x, mixed))
        return mixed, past

    monkeypatch.setattr(Attention, "__call__", recorded)

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def weighted(graphdef, params, number: int):
        model: Transformer = nnx.merge(graphdef, params)
        layer, window = model.layer(number), model.windows()[number]
        weights = layer.attention_weights(x, positions, window)
        layer(x, positions, None, window, None)
        read, expected = seen.pop()
        a = layer.attention
        values = jnp.repeat(a.value(read), config.attention.num_heads // a.value(read).shape[2], 2)
        return weights, a.output(jnp.einsum("bnts,bsnh->btnh", weights, values)), expected

    for number in range(len(config.attention.windows)):
        weights, mixed, expected = weighted(*nnx.split(model, nnx.Param), number)
        np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert weights.shape == (2, config.attention.num_heads, 11, 11)
