"""The shared transformer against NumPy models written from the papers' equations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import configs
from models.attention.blocks import LARGEST_BLOCK, SMALLEST_BLOCK
from models.block import Block
from models.execution import Execution
from models.model import abstract_model, abstract_params, num_params
from models.positions import Positions
from models.transformer import FLOAT32, Transformer
from tests.models import samples
from tests.reference import gpt3

TOLERANCE = 1e-4


def assert_reference_agrees(name: str, model: Transformer, tokens, ours) -> None:
    """Assert that the logits [T, V] of one document are those of the paper's equations."""
    theirs = samples.reference_logits(name, model, tokens)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", samples.MODELS)
def test_logits_equal_the_papers_equations(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=config.context_length)
    logits = samples.logits(model, tokens)
    assert logits.dtype == jnp.float32
    assert logits.shape == (3, config.context_length, config.vocab_size)
    for row_tokens, row in zip(tokens, logits, strict=True):
        assert_reference_agrees(name, model, row_tokens, row)


@pytest.mark.parametrize("name", ["gpt1", "gpt3", "gopher", "palm"])
def test_gradients_are_the_slopes_of_the_papers_equations(name: str):
    config = samples.MODELS[name]
    tokens = samples.random_tokens(config, batch_size=1, seq_len=config.context_length)
    graphdef, params = nnx.split(samples.random_model(config), nnx.Param)

    @jax.jit
    @jax.grad
    def gradient(params: nnx.State):
        model = nnx.merge(graphdef, params)
        hidden, _ = model(jnp.asarray(tokens), Positions.whole_rows(*tokens.shape))
        return jnp.mean(jnp.sin(model.logits(hidden)))

    def mean(values: dict[str, np.ndarray]) -> float:
        return np.mean(np.sin(samples.REFERENCES[name](values, tokens[0])))

    values, gradients = samples.to_numpy(params), samples.to_numpy(gradient(params))
    rng = np.random.default_rng(0)
    for part, value in values.items():
        direction = rng.normal(size=value.shape)
        ahead, behind = (mean(values | {part: value + h * direction}) for h in (1e-5, -1e-5))
        slope = (ahead - behind) / 2e-5
        derivative = np.sum(gradients[part] * direction)
        assert derivative == pytest.approx(slope, rel=1e-3, abs=1e-5), part


@pytest.mark.parametrize("name", ["gopher", "palm", "llama"])
def test_positions_without_a_table_continue_beyond_the_context_length(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=2 * config.context_length + 1)
    assert_reference_agrees(name, model, tokens[0], samples.logits(model, tokens)[0])


@pytest.mark.parametrize("name", ["gopher", "palm", "llama"])
def test_only_the_distance_between_tokens_counts(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=config.context_length)
    positions = Positions.whole_rows(*tokens.shape)
    later = dataclasses.replace(positions, index=positions.index + 97)
    np.testing.assert_allclose(
        samples.logits(model, tokens, later), samples.logits(model, tokens), rtol=1e-4, atol=1e-4
    )


def test_output_bias_is_added_to_the_logits():
    config = dataclasses.replace(samples.PALM, biases=("logits",))
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=5)
    assert model.logit_bias is not None
    with_bias, bias = samples.logits(model, tokens), model.logit_bias[...]
    model.logit_bias[...] = jnp.zeros_like(bias)
    np.testing.assert_allclose(with_bias, samples.logits(model, tokens) + bias, atol=1e-5)


# --- packed documents --------------------------------------------------------------------------

DOCUMENT_LENGTHS = [(31,), (5, 7, 19), (23, 2, 1, 5)]  # in each row
PADDING = [0, 7, 29]  # tokens in front of the document of each row


def packed(rows: list[tuple[int, ...]]) -> Positions:
    """Return the positions of rows that hold documents of these lengths one after the other."""
    positions = [np.concatenate([np.arange(n) for n in lengths]) for lengths in rows]
    segments = [np.repeat(np.arange(1, len(lengths) + 1), lengths) for lengths in rows]
    return Positions(jnp.asarray(np.stack(positions)), jnp.asarray(np.stack(segments)))


@pytest.mark.parametrize("name", samples.MODELS)
def test_a_packed_document_has_the_logits_of_the_document_alone(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=31)
    logits = samples.logits(model, tokens, packed(DOCUMENT_LENGTHS))
    for row, lengths in enumerate(DOCUMENT_LENGTHS):
        ends = np.cumsum(lengths)
        for start, end in zip(ends - lengths, ends, strict=True):
            assert_reference_agrees(name, model, tokens[row, start:end], logits[row, start:end])


@pytest.mark.parametrize("name", samples.MODELS)
def test_padding_in_front_of_a_document_changes_nothing(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=31)
    positions = packed([(padding, 31 - padding) for padding in PADDING])
    segment_ids = positions.segment_ids - 1  # 0 is padding
    logits = samples.logits(model, tokens, dataclasses.replace(positions, segment_ids=segment_ids))
    for row, padding in enumerate(PADDING):
        assert_reference_agrees(name, model, tokens[row, padding:], logits[row, padding:])


@pytest.mark.parametrize("name", samples.MODELS)
def test_editing_one_packed_document_leaves_the_logits_of_the_others(name: str):
    config = samples.MODELS[name]
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=3, seq_len=31)
    edited = tokens.copy()
    edited[1, 5:12] = (edited[1, 5:12] + 1) % config.vocab_size
    positions = packed(DOCUMENT_LENGTHS)
    before, after = (samples.logits(model, t, positions)[1] for t in (tokens, edited))
    np.testing.assert_array_equal(before[:5], after[:5])
    np.testing.assert_array_equal(before[12:], after[12:])
    assert jnp.abs(before[5:12] - after[5:12]).max(axis=-1).min() > 1e-4


@pytest.mark.parametrize("name", ["gpt2", "gopher", "llama_gqa"])
def test_a_banded_layer_passes_a_token_on_by_its_window_and_no_further(name: str):
    config = samples.MODELS[name]
    heads = dataclasses.replace(config.attention, windows=(samples.WINDOW,))
    model = samples.random_model(dataclasses.replace(config, attention=heads))
    tokens = samples.random_tokens(config, batch_size=1, seq_len=31)
    edited = tokens.copy()
    edited[:, 7] = (edited[:, 7] + 1) % config.vocab_size
    before, after = samples.logits(model, tokens)[0], samples.logits(model, edited)[0]
    changed = np.flatnonzero((before != after).any(axis=-1))
    last = 7 + config.num_layers * (samples.WINDOW - 1)
    np.testing.assert_array_equal(changed, np.arange(7, last + 1))


@pytest.mark.parametrize("window", [1, 2, 29, 31, 97])
@pytest.mark.parametrize("seq_len", [1, 31])
def test_a_band_of_any_width_equals_the_papers_equations(window: int, seq_len: int):
    heads = dataclasses.replace(samples.GPT2.attention, windows=(window,))
    model = samples.random_model(dataclasses.replace(samples.GPT2, attention=heads))
    tokens = samples.random_tokens(model.config, batch_size=1, seq_len=seq_len)
    params = samples.to_numpy(nnx.state(model, nnx.Param))
    theirs = gpt3.logits(params, tokens[0], windows=(window,))
    ours = samples.logits(model, tokens)[0]
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


LONG = 2 * SMALLEST_BLOCK + LARGEST_BLOCK + 17
"""Number of tokens that attention scores in several blocks, with any window."""


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("gopher", None),
        ("llama_gqa", None),
        ("gpt3", samples.WINDOW),
        ("gpt3", SMALLEST_BLOCK + 3),
        ("gpt3", LARGEST_BLOCK + 45),
    ],
)
def test_blocks_of_queries_equal_the_papers_equations(name: str, window: int | None):
    config = dataclasses.replace(samples.MODELS[name], context_length=LONG)
    heads = dataclasses.replace(config.attention, windows=(None, window) if window else (None,))
    config = dataclasses.replace(config, attention=heads)
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=LONG)
    lengths = (97, LONG - 97 - 103, 103)
    logits = samples.logits(model, tokens, packed([lengths]))
    banded = functools.partial(gpt3.logits, windows=heads.windows)
    reference = banded if window else samples.REFERENCES[name]
    params = samples.to_numpy(nnx.state(model, nnx.Param))
    ends = np.cumsum(lengths)
    for start, end in zip(ends - lengths, ends, strict=True):
        theirs = reference(params, tokens[0, start:end])
        np.testing.assert_allclose(logits[0, start:end], theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_gpt3s_own_band_at_its_own_length_equals_the_papers_equations():
    published = configs.get("gpt3_175b").model
    config = dataclasses.replace(
        samples.MODELS["gpt3"],
        context_length=2048,
        num_layers=2,
        attention=dataclasses.replace(published.attention, num_heads=1, num_kv_heads=1, head_dim=7),
    )
    model = samples.random_model(config)
    tokens = samples.random_tokens(config, batch_size=1, seq_len=2048)
    params = samples.to_numpy(nnx.state(model, nnx.Param))
    theirs = gpt3.logits(params, tokens[0], windows=(None, 256))
    ours = samples.logits(model, tokens)[0]
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    dense = gpt3.logits(params, tokens[0], windows=(None, None))
    assert np.abs(dense - theirs)[256:].max() > 100 * TOLERANCE


def test_a_later_token_does_not_change_an_earlier_one():
    model = samples.random_model(samples.LLAMA)
    tokens = samples.random_tokens(samples.LLAMA, batch_size=1, seq_len=11)
    edited = tokens.copy()
    edited[:, 7] = (edited[:, 7] + 1) % samples.LLAMA.vocab_size
    before, after = samples.logits(model, tokens), samples.logits(model, edited)
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert jnp.abs(before[:, 7:] - after[:, 7:]).max(axis=-1).min() > 1e-4


# --- execution: the same function, computed in other ways ----------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"remat": "dots"}, {"remat": "full"}, {"unroll": 2}],
    ids=["dots", "full", "unrolled"],
)
def test_remat_and_unrolling_change_neither_logits_nor_gradients(change: dict):
    config = samples.GPT2
    tokens = jnp.asarray(samples.random_tokens(config, batch_size=2, seq_len=7))

    def value_and_gradient(execution: Execution):
        graphdef, params = nnx.split(samples.random_model(config, execution=execution), nnx.Param)

        @jax.jit
        @jax.value_and_grad
        def mean(params: nnx.State):
            hidden, _ = nnx.merge(graphdef, params)(tokens, Positions.whole_rows(2, 7))
            return jnp.mean(jnp.sin(hidden))

        value, gradient = mean(params)
        return {"value": np.asarray(value)} | samples.to_numpy(gradient)

    plain = value_and_gradient(FLOAT32)
    other = value_and_gradient(dataclasses.replace(FLOAT32, **change))
    for name in plain:
        np.testing.assert_allclose(other[name], plain[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_bfloat16_computes_in_bfloat16_from_float32_parameters():
    config = samples.PALM
    exact = samples.random_model(config)
    model = samples.random_model(config, execution=Execution(dtype="bfloat16"))
    tokens = samples.random_tokens(config, batch_size=2, seq_len=11)
    assert samples.hidden(model, tokens).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    rounded, exact_logits = samples.logits(model, tokens), samples.logits(exact, tokens)
    assert rounded.dtype == jnp.float32
    difference = jnp.abs(rounded - exact_logits).max()
    assert 1e-5 < difference < 0.1 * jnp.abs(exact_logits).max()


def test_a_model_is_not_made_before_its_precision_is_known():
    with pytest.raises(AssertionError, match="dtype='auto'; pass execution.resolve"):
        abstract_model(samples.PALM, Execution(dtype="auto"))


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


def test_dropout_on_tables_hits_the_same_entries_for_all_tokens_and_in_the_output_matrix():
    config = dataclasses.replace(
        samples.MODELS["gpt1"], dropout_rate=0.3, embedding_dropout="tables", tie_embeddings=True
    )
    model, key = samples.random_model(config), jax.random.key(3)
    # Without the output of attention and feed-forward, only the norms follow the embedding.
    assert isinstance(model.layers, Block)
    for linear in (model.layers.attention.output, model.layers.feed_forward.down):
        for param in (linear.kernel, linear.bias):
            assert param is not None
            param[...] = jnp.zeros_like(param[...])
    assert model.position_embedding is not None
    table, places = (np.asarray(table) for table in model.tables(key))
    for dropped, param in ((table, model.embedding), (places, model.position_embedding)):
        kept = dropped != 0
        assert 0.6 < kept.mean() < 0.8
        np.testing.assert_allclose(dropped[kept], np.asarray(param[...])[kept] / 0.7, rtol=1e-6)
    np.testing.assert_array_equal(model.head(key).table, table)

    tokens = samples.random_tokens(config, batch_size=3, seq_len=11)
    x = table[tokens] + places[np.arange(11)]
    norms = (model.layers.attention_norm, model.layers.feed_forward_norm)
    for layer in range(config.num_layers):
        for norm in norms:
            assert norm.bias is not None
            x = x - x.mean(axis=-1, keepdims=True)
            x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config.norm.eps)
            x = x * norm.scale[...][layer] + norm.bias[...][layer]
    hidden = samples.hidden(model, tokens, dropout_key=key)
    np.testing.assert_allclose(hidden, x, rtol=1e-4, atol=1e-5)


def test_dropped_entries_of_a_tied_table_have_no_gradient():
    config = dataclasses.replace(
        samples.MODELS["gpt1"], dropout_rate=0.3, embedding_dropout="tables"
    )
    graphdef, params = nnx.split(samples.random_model(config), nnx.Param)
    tokens = jnp.asarray(samples.random_tokens(config, batch_size=2, seq_len=11))
    key = jax.random.key(3)

    def energy(params: nnx.State):
        model = nnx.merge(graphdef, params)
        hidden, _ = model(tokens, Positions.whole_rows(*tokens.shape), dropout_key=key)
        return jnp.sum(model.head(key)(hidden) ** 2)

    gradient = np.asarray(jax.jit(jax.grad(energy))(params)["embedding"][...])
    dropped = np.asarray(nnx.merge(graphdef, params).tables(key)[0]) == 0
    np.testing.assert_array_equal(gradient == 0, dropped)


# --- counting ----------------------------------------------------------------------------------


def test_abstract_parameters_are_those_of_the_real_model():
    config = samples.GPT2

    def shapes(params: nnx.State):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)

    real, abstract = samples.initial_params(config), abstract_params(config)
    assert shapes(real) == shapes(abstract)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(abstract))
    assert num_params(config) == sum(value.size for value in samples.to_numpy(real).values())
