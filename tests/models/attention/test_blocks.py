"""Attention in blocks: the same values and gradients as with the scores of all queries at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.attention import blocks, ring
from models.attention.blocks import Dropout, Queries
from models.attention.ring import KeyValues
from models.positions import Positions, causal_mask
from tests.models.attention.samples import in_blocks, random_inputs, value_and_gradient


def at_once(
    queries: Queries, positions: Positions, keys: KeyValues, window: int | None
) -> jax.Array:
    """Return softmax(scores) V as the equations say it, with the gradients of autodiff."""
    t, n = queries.content.shape[1:3]
    key, value = (jnp.repeat(x, n // x.shape[2], axis=2) for x in (keys.key, keys.value))
    scores = jnp.einsum("btnh,bsnh->bnts", queries.content, key)
    if queries.distance is not None:
        assert keys.distance_keys is not None
        distance = np.maximum(0, np.arange(t)[:, None] - np.arange(t))
        scores += jnp.einsum("btnh,tsnh->bnts", queries.distance, keys.distance_keys[distance])
    mask = causal_mask(positions, positions, window)[:, None]
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, value)


@pytest.mark.parametrize("most_unrolled", [2, 8], ids=["loops", "unrolled"])
@pytest.mark.parametrize(("window", "relative"), [(None, False), (11, False), (None, True)])
def test_blocks_equal_all_scores_at_once(
    window: int | None, relative: bool, most_unrolled: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blocks, "SMALLEST_BLOCK", 4)
    monkeypatch.setattr(blocks, "LARGEST_BLOCK", 8)
    monkeypatch.setattr(blocks, "MOST_UNROLLED", most_unrolled)
    inputs = random_inputs(seq_len=43, num_kv_heads=2, relative=relative)
    jax.clear_caches()  # the constants above are no part of jit's key
    expected = value_and_gradient(at_once, *inputs, window)
    found = value_and_gradient(in_blocks, *inputs, window)
    for theirs, ours in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_rounded_no_more_than_in_one_softmax():
    queries, positions, keys = random_inputs(seq_len=43, num_kv_heads=2, relative=True)
    exact = value_and_gradient(at_once, queries, positions, keys, None)
    queries, keys = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (queries, keys))
    ours = value_and_gradient(in_blocks, queries, positions, keys, None)
    for rounded, precise in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
        assert rounded.dtype == jnp.bfloat16
        error = jnp.abs(rounded - precise).max()
        assert error < 0.03 * jnp.abs(precise).max()


def test_dropped_weights_are_the_same_forward_and_backward():
    """The gradient of a linear function of the values is the weights, as the values saw them."""
    queries, positions, keys = random_inputs(seq_len=13, num_kv_heads=4)
    drop = Dropout(0.5, jax.random.key(0))

    @jax.jit
    def mixed(value: jax.Array) -> jax.Array:
        return ring.attend(queries, positions, keys._replace(value=value), drop, None, None)

    gradient = jax.jit(jax.grad(lambda value: jnp.sum(mixed(value))))(keys.value)
    np.testing.assert_allclose(
        jnp.vdot(gradient, keys.value), jnp.sum(mixed(keys.value)), rtol=1e-5
    )
    kept = jnp.abs(mixed(jnp.ones_like(keys.value)) - 1).max()
    assert kept > 0.1, "nothing was dropped"
