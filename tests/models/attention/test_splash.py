"""Splash attention in interpret mode: the same values and gradients as in blocks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu import splash_attention

from models.attention import splash
from models.execution import Execution, Kernel
from models.positions import Positions
from tests.models import samples
from tests.models.attention.samples import in_blocks, random_inputs, value_and_gradient


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch):
    """Let the kernel run on a CPU, in blocks of one tile."""
    kernel = functools.partial(splash_attention.make_splash_mha, interpret=True)
    monkeypatch.setattr(splash_attention, "make_splash_mha", kernel)
    monkeypatch.setattr(splash, "LARGEST_BLOCK", splash.TILE)


@pytest.mark.parametrize(
    ("num_kv_heads", "window"),
    [(4, None), (1, None), (2, 40)],
    ids=["multi-head", "multi-query", "grouped, banded"],
)
def test_values_and_gradients_equal_those_in_blocks(num_kv_heads: int, window: int | None):
    inputs = random_inputs(2 * splash.TILE, num_kv_heads)
    expected = value_and_gradient(in_blocks, *inputs, window)
    found = value_and_gradient(splash.attend, *inputs, window)
    for theirs, ours in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt3", "llama_gqa", "palm"])
def test_editing_one_document_leaves_the_others_logits_unchanged(name: str):
    config = samples.MODELS[name]
    tokens = samples.random_tokens(config, batch_size=1, seq_len=splash.TILE)
    edited = tokens.copy()
    edited[:, 5] = (edited[:, 5] + 1) % config.vocab_size
    index = jnp.arange(splash.TILE)[None]
    is_second = (index >= 20).astype(jnp.int32)
    positions = Positions(index - 20 * is_second, 1 + is_second)

    def logits(kernel: Kernel, tokens: np.ndarray) -> np.ndarray:
        longer = dataclasses.replace(config, context_length=splash.TILE)
        execution = Execution(dtype="float32", attention=kernel)
        model = samples.random_model(longer, execution=execution)
        return np.asarray(samples.logits(model, tokens, positions))[0]

    before, after = logits("splash", tokens), logits("splash", edited)
    np.testing.assert_array_equal(after[20:], before[20:])
    assert np.abs(after[5:20] - before[5:20]).max(axis=-1).min() > 1e-4
    np.testing.assert_allclose(before, logits("xla", tokens), rtol=1e-4, atol=1e-4)
