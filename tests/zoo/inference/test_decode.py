"""Drawing tokens, and the decode loop."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.config import ConfigError
from tests.models import samples
from zoo.inference.decode import DecodeState, Prompts, Sampling, decode, draw
from zoo.inference.generation import generate
from zoo.lessons.attention import temporary_bytes

GREEDY = Sampling(temperature=0)
ANY = np.ones(samples.PALM.vocab_size, bool)
MODEL = samples.random_model(samples.PALM)
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]


def tokens_of(
    prompts=PROMPTS, *, sampling=GREEDY, seed=0, end_id=None, allowed=ANY, first=None
) -> np.ndarray:
    """[B, n] tokens, at most 17."""
    graphdef, params = nnx.split(MODEL, nnx.Param)
    chunks = generate(
        graphdef,
        params,
        Prompts(
            prompts,
            allowed=np.tile(allowed, (len(prompts), 1)),
            allowed_first=np.tile(allowed if first is None else first, (len(prompts), 1)),
            end_id=end_id,
        ),
        max_tokens=17,
        sampling=sampling,
        seed=seed,
    )
    return np.concatenate(list(chunks), axis=1)


# --- the decode loop ---------------------------------------------------------------------------


@pytest.mark.parametrize("first_allowed", [0, 30])
def test_greedy_takes_the_likeliest_allowed_token_of_the_full_forward_pass(first_allowed: int):
    allowed = np.arange(samples.PALM.vocab_size) >= first_allowed
    drawn = tokens_of(allowed=allowed)
    assert drawn.shape == (3, 17)
    texts = [prompt + new.tolist() for prompt, new in zip(PROMPTS, drawn, strict=True)]
    longest = max(map(len, texts))
    padded = np.array([text + [0] * (longest - len(text)) for text in texts])  # causal: no effect
    logits = np.where(allowed, samples.logits(MODEL, padded), -np.inf)
    for row, prompt in enumerate(PROMPTS):
        start = len(prompt) - 1
        expected = logits[row, start : start + 17].argmax(axis=-1)
        np.testing.assert_array_equal(drawn[row], expected)


def test_the_seed_decides_the_text():
    warm = Sampling(temperature=3.0)
    first, again, other = (tokens_of(sampling=warm, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()


def test_ids_that_are_not_allowed_are_never_drawn():
    allowed = np.isin(np.arange(samples.PALM.vocab_size), [7, 11])
    drawn = tokens_of(sampling=Sampling(temperature=100.0), allowed=allowed)
    assert set(drawn.flatten()) == {7, 11}


def test_the_first_token_may_be_restricted_further():
    drawn = tokens_of(first=np.arange(samples.PALM.vocab_size) == 7)
    assert drawn[:, 0].tolist() == [7, 7, 7]
    assert len(set(drawn[:, 1:].flatten())) > 1


def test_generation_ends_once_every_row_has_drawn_the_end():
    whole = tokens_of()
    starts = whole[:, 0].tolist()
    row = next(r for r in range(3) if starts[r] not in np.delete(whole, r, axis=0))
    assert tokens_of([PROMPTS[row]], end_id=starts[row]).tolist() == [[starts[row]]]
    np.testing.assert_array_equal(tokens_of(end_id=starts[row]), whole)


# --- one draw ----------------------------------------------------------------------------------

PROBABILITIES = np.array([0.15, 0.5, 0.1, 0.25])


def frequencies(sampling: Sampling) -> np.ndarray:
    """The share of each of four tokens in 20,000 draws."""
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(PROBABILITIES, jnp.float32)), (20_000, 4))
    drawn = draw(logits, sampling, jax.random.key(0))
    return np.bincount(drawn, minlength=4) / 20_000


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), PROBABILITIES),
        (Sampling(temperature=0.5), PROBABILITIES**2),
        (Sampling(top_k=2), [0, 0.5, 0, 0.25]),
        (Sampling(top_k=99), PROBABILITIES),
        (Sampling(top_p=0.7), [0, 0.5, 0, 0.25]),
        (Sampling(top_p=0.8), [0.15, 0.5, 0, 0.25]),
        (Sampling(top_p=1.0), PROBABILITIES),
        (Sampling(top_p=1e-6), [0, 1, 0, 0]),
        # The three most likely hold 0.9; of that, two reach 0.8.
        (Sampling(top_k=3, top_p=0.8), [0, 0.5, 0, 0.25]),
        # Temperature comes first: 0.71 of the squares are the first token's.
        (Sampling(temperature=0.5, top_p=0.7), [0, 1, 0, 0]),
        (GREEDY, [0, 1, 0, 0]),
    ],
    ids=str,
)
def test_draws_have_the_frequencies_of_the_kept_tokens(sampling: Sampling, expected):
    expected = np.asarray(expected) / np.sum(expected)
    shares = frequencies(sampling)
    assert (shares[expected == 0] == 0).all()
    four_deviations = 4 * math.sqrt(0.25 / 20_000)
    np.testing.assert_allclose(shares, expected, atol=four_deviations)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampling(temperature=-0.1), r"temperature=-0\.1"),
        (lambda: Sampling(top_k=0), "top_k=0"),
        (lambda: Sampling(top_p=0.0), r"top_p=0\.0"),
        (lambda: Sampling(top_p=1.1), r"top_p=1\.1"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Sampling], message: str):
    with pytest.raises(ConfigError, match=message):
        make()


def test_decoding_copies_no_cache():
    """Rows and heads in plural: XLA once copied all cells for every token."""
    model = samples.random_model(samples.LLAMA_GQA)
    graphdef, params = nnx.split(model, nnx.Param)
    cache = dataclasses.replace(model.empty_cache(2, 2048), length=jnp.asarray(5))
    zeros = jnp.zeros(2, jnp.int32)
    state = DecodeState(cache, zeros, zeros, jax.random.key(0))
    cells = [each for layer in cache.layers for each in (layer.keys, layer.values)]
    cache_bytes = sum(each.nbytes for each in cells)
    allowed = np.ones((2, model.config.vocab_size), bool)
    leaves, structure = jax.tree.flatten(state)

    def decoded(leaves):
        state = jax.tree.unflatten(structure, leaves)
        end = decode(graphdef, params, allowed, state, sampling=GREEDY, num_tokens=4)
        return jax.tree.leaves(end)

    program = jax.jit(decoded, donate_argnums=0).lower(leaves).compile()
    assert temporary_bytes(program) < cache_bytes / 4
