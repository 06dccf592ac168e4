"""Who sees whom in models with an encoder, and decoding one token at a time."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import config as c
from models.encoders.encoder import EncoderModel
from models.encoders.encoder_decoder import EncoderDecoderModel
from models.execution import Execution
from models.model import abstract_model, build
from models.positions import Positions, buckets, sinusoids
from models.transformer import Transformer
from tests.models.encoders import samples
from tests.models.samples import GPT2, random_model, random_parameters

B, S, T = 2, 11, 13
RNG = np.random.default_rng(1)
TOKENS = jnp.asarray(RNG.integers(53, size=(B, T)))
SOURCE = jnp.asarray(RNG.integers(53, size=(B, S)))
BOTH = ["transformer", "t5"]


def encoder() -> EncoderModel:
    model = random_parameters(abstract_model(samples.BERT))
    assert isinstance(model, EncoderModel)
    return model


def encoder_decoder(name: str) -> EncoderDecoderModel:
    model = random_parameters(abstract_model(samples.MODELS[name]))
    assert isinstance(model, EncoderDecoderModel)
    return model


def decoded(model: EncoderDecoderModel, tokens: jax.Array, source: jax.Array) -> np.ndarray:
    source_positions = Positions.whole_rows(*source.shape)
    encoded = model.encode(source, source_positions)
    positions = Positions.whole_rows(*tokens.shape)
    return np.asarray(model.decode(tokens, positions, encoded, source_positions))


def changed(before: np.ndarray, after: np.ndarray) -> list[int]:
    """The columns of the first row that differ."""
    return np.flatnonzero(np.abs(before - after)[0].max(axis=-1) > 1e-6).tolist()


def test_a_token_of_an_encoder_is_seen_from_both_sides():
    model, zeros = encoder(), jnp.zeros_like(TOKENS)
    positions = Positions.whole_rows(B, T)
    before = np.asarray(model(TOKENS, positions, zeros))
    after = np.asarray(model(TOKENS.at[0, 5].add(1), positions, zeros))
    assert changed(before, after) == list(range(T))
    assert (before[1] == after[1]).all()


def test_padding_of_an_encoder_is_not_seen():
    model, zeros = encoder(), jnp.zeros_like(TOKENS)
    index = jnp.broadcast_to(jnp.arange(T), (B, T))
    positions = Positions(index, (index < 8).astype(jnp.int32))
    before = np.asarray(model(TOKENS, positions, zeros))
    after = np.asarray(model(TOKENS.at[0, 10].add(1), positions, zeros))
    assert not set(changed(before, after)) & set(range(8))


@pytest.mark.parametrize("name", BOTH)
def test_a_decoder_sees_its_past_and_all_of_the_source(name: str):
    model = encoder_decoder(name)
    before = decoded(model, TOKENS, SOURCE)
    assert changed(before, decoded(model, TOKENS.at[0, 5].add(1), SOURCE)) == list(range(5, T))
    assert changed(before, decoded(model, TOKENS, SOURCE.at[0, 9].add(1))) == list(range(T))


@pytest.mark.parametrize("name", BOTH)
def test_decoding_token_by_token_is_decoding_at_once(name: str):
    model = encoder_decoder(name)
    index = jnp.broadcast_to(jnp.arange(S), (B, S))
    source_positions = Positions(index, (index < jnp.array([[S], [6]])).astype(jnp.int32))
    encoded = model.encode(SOURCE, source_positions)
    expected = model.decode(TOKENS, Positions.whole_rows(B, T), encoded, source_positions)
    sources = model.sources(encoded, source_positions)
    cache = model.empty_cache(B, T)
    cache = dataclasses.replace(cache, length=jnp.zeros((), jnp.int32))
    found = []
    for t in range(T):
        position = jnp.full((B, 1), t)
        positions = Positions(position, jnp.ones_like(position))
        hidden, cache = model.step(TOKENS[:, t : t + 1], positions, sources, cache)
        found.append(hidden)
    np.testing.assert_allclose(jnp.concatenate(found, axis=1), expected, rtol=1e-4, atol=1e-5)


def sum_of_squares(model, key: jax.Array | None = None) -> jax.Array:
    """A number that depends on all hidden states of the model."""
    positions = Positions.whole_rows(B, T)
    if isinstance(model, EncoderModel):
        hidden = model(TOKENS, positions, jnp.zeros_like(TOKENS), dropout_key=key)
    else:
        source_positions = Positions.whole_rows(B, S)
        encoded = model.encode(SOURCE, source_positions, dropout_key=key)
        hidden = model.decode(TOKENS, positions, encoded, source_positions, dropout_key=key)
    return jnp.sum(jnp.sin(hidden))


@pytest.mark.parametrize("name", samples.MODELS)
def test_dropout_depends_on_its_key(name: str):
    config = dataclasses.replace(samples.MODELS[name], dropout_rate=0.3)
    model = random_parameters(abstract_model(config))
    keys = [*map(jax.random.key, (0, 0, 1)), None]
    first, again, other, none = (float(sum_of_squares(model, key)) for key in keys)
    assert first == again
    assert len({first, other, none}) == 3


@pytest.mark.parametrize("name", samples.MODELS)
def test_rematerialisation_changes_no_gradient(name: str):
    found = []
    for remat in ("none", "full"):
        execution = Execution(dtype="float32", remat=remat)
        model = random_parameters(abstract_model(samples.MODELS[name], execution))
        graphdef, params = nnx.split(model, nnx.Param)
        gradient = jax.grad(lambda p, g=graphdef: sum_of_squares(nnx.merge(g, p)))(params)
        found.append(jax.tree.leaves(gradient))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_decoder_may_have_sinusoids():
    """It is one with learned positions whose table holds them, and whose embeddings are larger."""
    learned = dataclasses.replace(GPT2, d_model=18, context_length=T, tie_embeddings=False)
    fixed = dataclasses.replace(learned, position=c.Sinusoidal(), embedding_scale="sqrt_d_model")
    params = dict(nnx.to_flat_state(nnx.state(random_model(learned), nnx.Param)))
    table = ("position_embedding",)
    params[table] = params[table].replace(sinusoids(jnp.arange(T), fixed.d_model))
    smaller = dict(params)
    smaller[("embedding",)] = params[("embedding",)].replace(
        params[("embedding",)].get_value() / math.sqrt(fixed.d_model)
    )
    del smaller[table]
    positions, tokens = Positions.whole_rows(B, T), TOKENS % fixed.vocab_size
    hidden = []
    for config, flat in ((learned, params), (fixed, smaller)):
        graphdef = nnx.graphdef(abstract_model(config))
        model: Transformer = nnx.merge(graphdef, nnx.from_flat_state(list(flat.items())))
        hidden.append(model(tokens, positions)[0])
    np.testing.assert_allclose(*hidden, rtol=1e-4, atol=1e-5)


def test_a_truncated_normal_ends_at_two_deviations():
    config = dataclasses.replace(samples.BERT, init=c.TruncatedNormal(std=0.5))
    drawn = np.asarray(build(config, rngs=nnx.Rngs(0)).embedding[...])
    assert 0.9 < np.abs(drawn).max() <= 1.0
    assert drawn.std() == pytest.approx(0.5 * 0.88, rel=0.05)


def test_distances_have_buckets_of_growing_width():
    """Raffel et al.'s 32 buckets up to a distance of 128, seen to one side and to both."""
    choice = c.Bucketed()
    past = buckets(jnp.array([0, 1, 15, 16, 31, 64, 127, 128, 999, -3]), choice, both_sides=False)
    assert past.tolist() == [0, 1, 15, 16, 21, 26, 31, 31, 31, 0]
    both = buckets(jnp.array([0, 7, 8, 127, 500, -1, -7, -500]), choice, both_sides=True)
    assert both.tolist() == [0, 7, 8, 15, 15, 17, 23, 31]


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (samples.BERT, {"position": c.Rotary()}),
        (samples.BERT, {"layout": "pre_norm"}),
        (samples.T5, {"layout": "parallel"}),
        (samples.T5, {"position": c.Learned()}),
        (samples.T5, {"stack": c.Decoder()}),
    ],
)
def test_choices_that_do_not_go_together_are_refused(model: c.ModelConfig, change: dict):
    with pytest.raises(c.ConfigError, match=r"model\.stack=.* does not go with"):
        dataclasses.replace(model, **change)
