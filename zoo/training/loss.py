"""Next-token cross-entropy over a vocabulary too large to hold all logits at once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.linear import Head

POSITION_BINS = 8
"""Equal parts of a sequence whose losses are told apart."""
CHUNK_BYTES = 2**28
"""Upper bound of the float32 logits, or hidden states, that one device holds at a time: enough for
long matrix products, and small beside any device's memory."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossSums:
    """Sums over tokens, so that they add up over chunks, micro-batches, devices and batches."""

    nats: Float[Array, ""]
    """Weighted negative log-likelihood."""
    log_z_squared: Float[Array, ""]
    """Weighted log^2 Z, Z the softmax normaliser."""
    tokens: Float[Array, ""]
    """Sum of the weights."""
    logits_squared: Float[Array, ""]
    """Weighted mean over the vocabulary of the squared logits."""
    nats_by_position: Float[Array, " bins"]
    """`nats` of each part of the sequence."""
    tokens_by_position: Float[Array, " bins"]
    """`tokens` of each part of the sequence."""
    others: dict[str, Float[Array, ""]] = dataclasses.field(default_factory=dict)
    """Losses of an objective besides that of the tokens, by the names of their metrics."""


def fewest_chunks(batch_size: int, seq_len: int, numbers_per_token: float) -> int:
    """Return the smallest number of equal chunks of a sequence that keeps each below CHUNK_BYTES.

    Args:
      numbers_per_token: float32 numbers that one device holds per token of the global batch: the
        logits, or the hidden state if that is larger.
    """
    num_bytes = 4 * numbers_per_token * batch_size * seq_len
    divisors = [n for n in range(1, seq_len + 1) if seq_len % n == 0]
    fits = [n for n in divisors if num_bytes / n <= CHUNK_BYTES]
    return fits[0] if fits else seq_len


def cross_entropy(
    head: Head,
    hidden: Float[Array, "B T D"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    z_loss: float,
    num_chunks: int,
) -> tuple[Float[Array, ""], LossSums]:
    """sum_t w_t (-log p(target_t) + z_loss log^2 Z_t), and its parts, in `num_chunks` chunks of T.

    Only the first result has a gradient, with respect to `head` and `hidden`. It is
    computed in the forward pass, chunk by chunk: only one chunk's logits are ever in memory.
    """
    # jax.custom_vjp hides the types of the function that it wraps; this one shows them.
    return _cross_entropy(head, hidden, targets, weights, z_loss, num_chunks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _cross_entropy(
    head: Head, hidden: Array, targets: Array, weights: Array, z_loss: float, num_chunks: int
) -> tuple[Array, LossSums]:
    def add_chunk(total: LossSums, chunk):
        (hidden, targets, weights), bins = chunk
        logits = head(hidden)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        return _add(total, _sums(logits, log_z, targets, weights, bins)), None

    chunks = _split(num_chunks, hidden, targets, weights), _bins(num_chunks, hidden.shape[1])
    sums, _ = jax.lax.scan(add_chunk, _zero_sums(), chunks)
    return sums.nats + z_loss * sums.log_z_squared, sums


def _forward(head, hidden, targets, weights, z_loss, num_chunks):
    def add_chunk(carry, chunk):
        total, d_head = carry
        (hidden, targets, weights), bins = chunk
        logits, pullback = jax.vjp(lambda head, hidden: head(hidden), head, hidden)
        # log Z and the softmax from one pass of exponentials over the logits.
        largest = jnp.max(logits, axis=-1, keepdims=True)
        exp = jnp.exp(logits - largest)
        z = jnp.sum(exp, axis=-1, keepdims=True)
        log_z = largest + jnp.log(z)
        total = _add(total, _sums(logits, log_z[..., 0], targets, weights, bins))
        # d(-log p)/d logits = softmax - one_hot, d(log^2 Z)/d logits = 2 log Z softmax
        weights = weights[..., None]
        is_target = targets[..., None] == jnp.arange(logits.shape[-1])
        d_logits = exp * (weights * (1 + 2 * z_loss * log_z) / z) - jnp.where(is_target, weights, 0)
        d_head_of_chunk, d_hidden = pullback(d_logits)
        return (total, _add(d_head, d_head_of_chunk)), d_hidden

    zeros = (_zero_sums(), jax.tree.map(jnp.zeros_like, head))
    chunks = _split(num_chunks, hidden, targets, weights), _bins(num_chunks, hidden.shape[1])
    (sums, d_head), d_hidden = jax.lax.scan(add_chunk, zeros, chunks)
    d_hidden = jnp.moveaxis(d_hidden, 0, 2).reshape(hidden.shape)
    return (sums.nats + z_loss * sums.log_z_squared, sums), (d_head, d_hidden)


def _backward(z_loss, num_chunks, gradients, cotangents):
    d_head, d_hidden = jax.tree.map(lambda g: (g * cotangents[0]).astype(g.dtype), gradients)
    return d_head, d_hidden, None, None


_cross_entropy.defvjp(_forward, _backward)


def _sums(logits, log_z, targets, weights, bins) -> LossSums:
    """The sums over a chunk; `bins` [T, POSITION_BINS] is 1 in the part of each position."""
    target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nats = weights * (log_z - target_logits)
    return LossSums(
        nats=jnp.sum(nats),
        log_z_squared=jnp.sum(weights * log_z**2),
        tokens=jnp.sum(weights),
        logits_squared=jnp.sum(weights * jnp.mean(logits**2, axis=-1)),
        nats_by_position=_by_bin(nats, bins),
        tokens_by_position=_by_bin(weights, bins),
    )


def _by_bin(x: Float[Array, "B T"], bins: Float[Array, "T bins"]) -> Float[Array, " bins"]:
    return jnp.sum(jnp.sum(x, axis=0)[:, None] * bins, axis=0)


def _bins(num_chunks: int, seq_len: int) -> Float[Array, "chunks T/chunks bins"]:
    """Tell the part of the sequence of every position, in the order of `_split`."""
    part = jnp.arange(seq_len) * POSITION_BINS // seq_len
    is_in = (part[:, None] == jnp.arange(POSITION_BINS)).astype(jnp.float32)
    return jnp.moveaxis(is_in.reshape(-1, num_chunks, POSITION_BINS), 1, 0)


def _zero_sums() -> LossSums:
    zero, zeros = jnp.zeros((), jnp.float32), jnp.zeros(POSITION_BINS, jnp.float32)
    return LossSums(zero, zero, zero, zero, zeros, zeros)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def _split(num_chunks: int, *arrays):
    """[B, T, ...] -> [chunks, B, T / chunks, ...].

    A chunk takes every num_chunks-th position of every sequence, so that the sharding of the rows
    and of the length stays as it is.
    """

    def split(x: Array) -> Array:
        b, t, *rest = x.shape
        return jnp.moveaxis(x.reshape(b, t // num_chunks, num_chunks, *rest), 2, 0)

    return tuple(split(x) for x in arrays)
