"""Speculative decoding: the same tokens, or the same distribution, as the model alone."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from models.config import ConfigError
from models.transformer import Transformer
from tests.models import samples
from zoo import sample
from zoo.benchmarking.ours import write_random_checkpoint
from zoo.inference import speculative
from zoo.inference.decode import Prompts, Sampling, kept_logits
from zoo.inference.generation import generate
from zoo.inference.speculative import Draft

PROMPTS = [[3, 1, 4, 1, 2], [0, 2], [1, 4, 3]]
V, DRAWS, NUM_PROPOSED = 5, 20_000, 2
TINY = dataclasses.replace(samples.LLAMA, vocab_size=V, num_layers=1)


def make_draft(model: Transformer, num_tokens: int) -> Draft:
    return Draft(*nnx.split(model, nnx.Param), num_tokens)


def noisy(model: Transformer, noise: float) -> Transformer:
    """A draft that often agrees with the model."""
    rng = np.random.default_rng(0)
    graphdef, params = nnx.split(model, nnx.Param)
    return nnx.merge(graphdef, jax.tree.map(lambda x: x + noise * rng.normal(size=x.shape), params))


def anything(model: Transformer, tokens=PROMPTS) -> Prompts:
    allowed = np.ones((len(tokens), model.config.vocab_size), bool)
    return Prompts(tokens, allowed, allowed, end_id=None)


def drawn(model: Transformer, draft: Draft | None, prompts: Prompts) -> np.ndarray:
    graphdef, params = nnx.split(model, nnx.Param)
    chunks = generate(
        graphdef,
        params,
        prompts,
        max_tokens=25,
        sampling=Sampling(temperature=0),
        seed=0,
        draft=draft,
    )
    return np.concatenate([*chunks], axis=1)


@pytest.mark.parametrize("name", ["gpt3", "gopher"])
def test_greedy_text_is_that_of_the_model_alone(name: str):
    """Learned positions with rings of cells, and relative ones; some of the proposals are kept."""
    config = samples.MODELS[name]
    config = dataclasses.replace(config, num_layers=len(config.attention.windows))
    model = samples.random_model(config)
    draft = make_draft(noisy(model, 0.1), 4)
    prompts = anything(model)
    np.testing.assert_array_equal(drawn(model, draft, prompts), drawn(model, None, prompts))
    assert 0 < draft.tally.kept < draft.tally.proposed


def test_a_draft_that_is_the_model_is_always_kept_and_a_contrary_one_never():
    model = samples.random_model(TINY)
    equal = make_draft(model, 3)
    prompts = anything(model, PROMPTS[:1])
    alone = drawn(model, None, prompts)
    np.testing.assert_array_equal(drawn(model, equal, prompts), alone)
    assert equal.tally.acceptance_rate == 1
    contrary = nnx.clone(model)
    assert contrary.unembedding is not None
    contrary.unembedding[...] = -contrary.unembedding[...]
    opposed = make_draft(contrary, 3)
    np.testing.assert_array_equal(drawn(model, opposed, prompts), alone)
    assert opposed.tally.acceptance_rate == 0 < opposed.tally.proposed


def test_rows_that_have_ended_do_not_hold_the_others_back():
    """The others of three rows end at once: as many proposals are kept as for the first alone."""
    model, end_id = samples.random_model(TINY), V - 1
    allowed = np.tile(np.arange(V) != end_id, (3, 1))
    first = allowed.copy()
    first[1:] = ~allowed[1:]
    texts, tallies = [], []
    for rows in (slice(1), slice(3)):
        draft = make_draft(noisy(model, 0.4), 3)
        prompts = Prompts(PROMPTS[rows], allowed[rows], first[rows], end_id)
        texts.append(drawn(model, draft, prompts)[0])
        tallies.append(draft.tally)
    np.testing.assert_array_equal(texts[1], texts[0])
    assert tallies[1] == tallies[0]
    assert 0 < tallies[0].kept < tallies[0].proposed


def test_rounds_after_the_end_are_not_counted_as_kept_whole():
    """A draft that is never right keeps nothing, also once every row has ended."""
    key, proposed = jax.random.key(0), jnp.zeros((1, 3), jnp.int32)
    log_p = jnp.log(jnp.tile(jnp.arange(V) == 1, (1, 4, 1)))  # the model never draws 0
    log_q = jnp.log(jnp.tile(jnp.arange(V) == 0, (1, 3, 1)))  # and the draft always
    for is_running in (True, False):
        _, count = speculative.verify(log_p, log_q, proposed, jnp.array([is_running]), key)
        assert count == 1


def test_more_proposals_than_a_ring_of_cells_can_take_back_are_refused():
    for number in (0, 16):
        with pytest.raises(ConfigError, match=f"--draft-tokens={number} must be from 1 to 15"):
            make_draft(samples.random_model(samples.PALM), number)


# --- distributions -----------------------------------------------------------------------------


def joint(model: Transformer, texts: np.ndarray, sampling: Sampling) -> np.ndarray:
    """[V^3] probabilities of three tokens after the first three of the V^2 texts."""
    logits = samples.logits(model, texts)
    p = np.asarray(jax.nn.softmax(kept_logits(logits, sampling)), np.float64).reshape(V, V, 5, V)
    return (p[0, 0, 2][:, None, None] * p[:, 0, 3][:, :, None] * p[:, :, 4]).flatten()


def check_frequencies(found: np.ndarray, expected: np.ndarray) -> None:
    """A chi-square test at 1e-4 of `found`, ids of cells, against their probabilities."""
    counts = np.bincount(found, minlength=expected.size)
    assert not counts[expected == 0].any()
    often = expected * found.size >= 5
    observed = np.append(counts[often], counts[~often].sum())
    predicted = np.append(expected[often], max(expected[~often].sum(), 1e-9)) * found.size
    assert stats.chisquare(observed, predicted * observed.sum() / predicted.sum()).pvalue > 1e-4


@functools.partial(jax.jit, static_argnums=(0, 2))
def many_rounds(graphdefs, params, sampling: Sampling, keys, prompts, lengths):
    """Tokens [DRAWS, 3 rounds, R, B] and counts [DRAWS, 3] after the same prompts."""
    allowed = jnp.ones((len(prompts), V), bool)
    settings = {"cache_length": 24}
    first = speculative.prefill(
        graphdefs[0], params[0], allowed, prompts, lengths, keys[0], sampling=sampling, **settings
    )
    # The prompts' own last tokens are the newest: all draws begin alike.
    first = dataclasses.replace(first, token=prompts[:, 0] * 0 + 2)
    draft_cache = speculative.prefill_draft(graphdefs[1], params[1], prompts, lengths, **settings)

    def draw(key):
        state = speculative.SpeculativeState(
            dataclasses.replace(first, key=key), draft_cache, jnp.ones(len(prompts), bool)
        )
        _, chunk = speculative.draw_rounds(
            graphdefs,
            params,
            allowed,
            -1,
            state,
            sampling=sampling,
            num_proposed=NUM_PROPOSED,
            num_rounds=3,
        )
        return chunk

    return jax.vmap(draw)(keys)


@pytest.mark.parametrize(
    ("num_rows", "sampling"),
    [
        (1, Sampling()),
        (1, Sampling(temperature=0.7, top_k=3)),
        (2, Sampling(top_p=0.8)),
    ],
    ids=str,
)
def test_the_next_three_tokens_have_the_models_joint_distribution(
    num_rows: int, sampling: Sampling
):
    model, other = (samples.random_model(TINY, seed=seed) for seed in (0, 1))
    graphdefs, params = zip(*(nnx.split(each, nnx.Param) for each in (model, other)), strict=True)
    prompts = np.array([[3, 1], [0, 4]])[:num_rows]
    keys = jax.random.split(jax.random.key(7), DRAWS)
    lengths = np.full(num_rows, 2)
    chunk = many_rounds(graphdefs, params, sampling, keys, prompts, lengths)
    counts = np.asarray(chunk.count)
    assert set(counts.flatten()) == {1, 2, 3}
    is_drawn = np.arange(NUM_PROPOSED + 1) < counts[..., None]
    for row, prompt in enumerate(prompts):
        tokens = np.asarray(chunk.tokens)[..., row]
        found = np.array([each[kept][:3] for each, kept in zip(tokens, is_drawn, strict=True)])
        texts = np.array([[*prompt, 2, a, b] for a in range(V) for b in range(V)])
        cells = found @ [V * V, V, 1]
        check_frequencies(cells, joint(model, texts, sampling))
        with pytest.raises(AssertionError):  # so that the test can fail
            check_frequencies(cells, joint(other, texts, sampling))


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def greedy(trained, run_here):
    """Runs zoo.sample greedily with more flags; returns what --json prints."""

    def run(*flags: str) -> dict:
        outcome = run_here(
            sample.main,
            f"--checkpoint={trained.workdir}",
            "--prompt=a model ",
            "--max-tokens=17",
            "--temperature=0",
            "--json",
            *flags,
        )
        assert outcome.code == 0, outcome.stderr
        return json.loads(outcome.stdout)

    return run


def test_an_earlier_step_drafts_for_a_later_one(greedy, trained):
    found = greedy(f"--draft={trained.workdir}/checkpoints/3", "--draft-tokens=2")
    assert found["samples"] == greedy()["samples"]
    counts = found["draft"]
    assert counts["acceptance_rate"] == counts["kept"] / counts["proposed"]
    assert counts["kept"] > 0


def test_all_devices_share_the_model_and_each_has_the_draft(greedy, trained, run_process):
    draft = [f"--draft={trained.workdir}/checkpoints/3", "--weights=int8"]
    flags = ["--prompt=a model ", "--max-tokens=17", "--temperature=0", "--json", *draft]
    process = run_process(
        "-m",
        "zoo.sample",
        f"--checkpoint={trained.workdir}",
        *flags,
        "--mesh=auto",
        "--fake-devices=8",
    )
    assert process.returncode == 0, process.stderr
    assert "mesh: --mesh." in process.stderr
    assert json.loads(process.stdout) == greedy(*draft)


def test_the_acceptance_rate_is_printed(trained, run_here):
    flags = [f"--checkpoint={trained.workdir}", "--ids", "5", "6", "--max-tokens=17"]
    outcome = run_here(sample.main, *flags, f"--draft={trained.workdir}")
    assert outcome.code == 0, outcome.stderr
    assert "an acceptance rate of 100.0%" in outcome.stderr
    assert "draft" not in outcome.stdout


def test_a_draft_with_another_vocabulary_is_one_message(
    trained, nano_experiment, tmp_path, run_here
):
    """The same number of ids, which stand for nothing."""
    execution = dataclasses.replace(nano_experiment.execution, dtype="float32")
    experiment = dataclasses.replace(nano_experiment, execution=execution)
    write_random_checkpoint(experiment, tmp_path / "ids")
    outcome = run_here(
        sample.main, f"--checkpoint={trained.workdir}", "--prompt=a", f"--draft={tmp_path / 'ids'}"
    )
    assert outcome.code == 2
    assert "has another vocabulary (400 ids) than the model (400 ids)" in outcome.stderr
