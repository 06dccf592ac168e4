"""The chunked loss against autodiff through all logits at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.linear import Head
from zoo.training import loss
from zoo.training.loss import cross_entropy, fewest_chunks

B, T, D, V = 3, 12, 5, 17


def inputs(*, bias: bool) -> tuple[Head, jax.Array, jax.Array, jax.Array]:
    """A head, hidden states, targets, and weights of which some are zero and some are not one."""
    rng = np.random.default_rng(0)
    head = Head(
        table=jnp.asarray(rng.normal(size=(V, D)), jnp.float32),
        bias=jnp.asarray(rng.normal(size=V), jnp.float32) if bias else None,
        scale=0.7,
    )
    hidden = jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)
    targets = jnp.asarray(rng.integers(V, size=(B, T)), jnp.int32)
    weights = jnp.asarray(rng.choice([0.0, 1.0, 0.5], size=(B, T)), jnp.float32)
    return head, hidden, targets, weights


def plain_loss(head: Head, hidden, targets, weights, z_loss: float):
    table = jnp.asarray(head.table)
    logits = (hidden @ table.T) * head.scale + (0 if head.bias is None else head.bias)
    nats = -jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(targets, V), axis=-1)
    log_z = jnp.log(jnp.sum(jnp.exp(logits), axis=-1))
    return jnp.sum(weights * (nats + z_loss * log_z**2))


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
@pytest.mark.parametrize("chunks", [1, 3, T])
def test_value_and_gradients_equal_autodiff_of_all_logits(chunks: int, z_loss: float):
    head, hidden, targets, weights = inputs(bias=chunks == 3)
    factor = 1.7  # a cotangent other than one

    def ours(head, hidden):
        total, sums = cross_entropy(head, hidden, targets, weights, z_loss, chunks)
        return factor * total, sums

    def theirs(head, hidden):
        return factor * plain_loss(head, hidden, targets, weights, z_loss)

    (value, sums), gradients = jax.value_and_grad(ours, (0, 1), has_aux=True)(head, hidden)
    plain_value, plain_gradients = jax.value_and_grad(theirs, (0, 1))(head, hidden)
    np.testing.assert_allclose(value, plain_value, rtol=1e-5)
    np.testing.assert_allclose(
        factor * (sums.nats + z_loss * sums.log_z_squared), plain_value, rtol=1e-5
    )
    assert sums.tokens == weights.sum()
    without_gradient, _ = cross_entropy(head, hidden, targets, weights, z_loss, chunks)
    np.testing.assert_allclose(factor * without_gradient, plain_value, rtol=1e-5)
    assert jax.tree.structure(gradients) == jax.tree.structure(plain_gradients)
    for ours_, theirs_ in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(plain_gradients), strict=True
    ):
        np.testing.assert_allclose(ours_, theirs_, rtol=1e-4, atol=1e-5)


def test_a_token_without_weight_has_no_gradient():
    head, hidden, targets, weights = inputs(bias=False)
    gradient = jax.grad(lambda h: cross_entropy(head, h, targets, weights, 0.1, 3)[0])(hidden)
    silent = np.asarray(weights) == 0
    assert (np.asarray(gradient)[silent] == 0).all()
    assert (np.abs(np.asarray(gradient)[~silent]).max(axis=-1) > 0).all()


def test_gradient_of_bfloat16_states_is_bfloat16_and_of_the_head_float32():
    head, hidden, targets, weights = inputs(bias=False)
    d_head, d_hidden = jax.grad(
        lambda head, hidden: cross_entropy(head, hidden, targets, weights, 0.0, 3)[0], (0, 1)
    )(head, hidden.astype(jnp.bfloat16))
    assert d_hidden.dtype == jnp.bfloat16
    assert d_head.table.dtype == jnp.float32


@pytest.mark.parametrize("seq_len", [1, 12, 97, 1024])
@pytest.mark.parametrize("bound", [1, 4 * 8 * 50_257, 2**40])
def test_num_chunks_is_the_fewest_that_divide_and_fit(monkeypatch, seq_len: int, bound: int):
    monkeypatch.setattr(loss, "CHUNK_BYTES", bound)
    batch_size, vocab_size, shards = 16, 50_257, 2

    def shard_bytes(chunks: int) -> float:
        return 4 * batch_size * (seq_len / chunks) * vocab_size / shards

    chunks = fewest_chunks(batch_size, seq_len, vocab_size / shards)
    assert seq_len % chunks == 0
    # One position is the least there is.
    assert shard_bytes(chunks) <= bound or chunks == seq_len
    fewer = [n for n in range(1, chunks) if seq_len % n == 0]
    assert all(shard_bytes(n) > bound for n in fewer)
    if bound == 2**40:
        assert chunks == 1


@pytest.mark.parametrize("chunks", [1, 3, T])
def test_sums_by_position_and_of_squared_logits_are_those_of_all_logits(chunks: int):
    head, hidden, targets, weights = inputs(bias=True)
    assert head.bias is not None
    assert isinstance(head.table, jax.Array)
    _, sums = cross_entropy(head, hidden, targets, weights, 0.0, chunks)
    logits = np.asarray((hidden @ head.table.T) * head.scale + head.bias)
    nats = -np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits)), np.asarray(targets)[..., None], axis=-1
    )
    part = np.arange(T) * loss.POSITION_BINS // T
    for i in range(loss.POSITION_BINS):
        here = part == i
        expected = (weights * nats[..., 0])[:, here].sum()
        np.testing.assert_allclose(sums.nats_by_position[i], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(sums.tokens_by_position[i], weights[:, here].sum())
    np.testing.assert_allclose(sums.nats_by_position.sum(), sums.nats, rtol=1e-5)
    np.testing.assert_allclose(
        sums.logits_squared, (weights * (logits**2).mean(axis=-1)).sum(), rtol=1e-5
    )
