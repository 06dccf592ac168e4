"""Generate tokens: prefill, then a decode loop over a cache, both jitted with static shapes."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from models.cache import KVCache
from models.config import check
from models.positions import Positions
from models.transformer import Transformer

CHUNK = 16
"""Tokens that one call decodes before the host reads them.

The first call decodes a single token, so that it can be shown at once.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """The way in which the next token is drawn from the model's distribution."""

    temperature: float = 1.0
    """The divisor of the logits; 0 always takes the most likely token."""
    top_k: int | None = None
    """Draw from the k most likely tokens only; None draws from all."""
    top_p: float | None = None
    """Draw from the fewest tokens whose probability reaches p (Holtzman et al. 2020); None draws
    from all."""

    def __post_init__(self):
        check(
            self.temperature >= 0,
            f"temperature={self.temperature} must not be negative; 0 is greedy",
        )
        check(self.top_k is None or self.top_k > 0, f"top_k={self.top_k} must be above zero")
        check(self.top_p is None or 0 < self.top_p <= 1, f"top_p={self.top_p} must lie in (0, 1]")


def draw(logits: Float[Array, "B V"], sampling: Sampling, key: Key[Array, ""]) -> Int[Array, " B"]:
    """Draw one token per row."""
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        smallest = jax.lax.top_k(logits, min(sampling.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if sampling.top_p is not None:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        # A token is kept if the tokens before it have not reached p; the first one always is.
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        smallest = jnp.min(
            jnp.where(before < sampling.top_p, ordered, jnp.inf), axis=-1, keepdims=True
        )
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    return jax.random.categorical(key, logits, axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
    """The state of the decode loop between two tokens."""

    cache: KVCache
    logits: Float[Array, "B V"]
    """The logits of the next token."""
    next_position: Int[Array, " B"]
    key: Key[Array, ""]


@functools.partial(jax.jit, static_argnames=("graphdef", "cache_length"))
def prefill(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Int[Array, "B T"],
    lengths: Int[Array, " B"],
    key: Key[Array, ""],
    *,
    cache_length: int,
) -> DecodeState:
    """Run the left-padded prompts, each of `lengths` real tokens, through the model at once."""
    model: Transformer = nnx.merge(graphdef, params)
    batch_size, width = prompts.shape
    index = jnp.arange(width) - (width - lengths[:, None])
    positions = Positions(jnp.maximum(index, 0), (index >= 0).astype(jnp.int32))
    cache = model.empty_cache(batch_size, cache_length)
    hidden, cache = model(prompts, positions, cache=cache)
    assert cache is not None
    return DecodeState(cache, model.logits(hidden[:, -1]), lengths, key)


@functools.partial(
    jax.jit,
    static_argnames=("graphdef", "sampling", "num_tokens"),
    donate_argnames=("state",),
)
def decode(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    allowed: Bool[Array, "B V"],
    state: DecodeState,
    *,
    sampling: Sampling,
    num_tokens: int,
) -> tuple[DecodeState, Int[Array, "num_tokens B"]]:
    """Draw `num_tokens` tokens for every row, each given all tokens before it.

    `allowed` is False for the ids that a row must not draw, such as padding.
    """
    model: Transformer = nnx.merge(graphdef, params)

    def next_token(state: DecodeState, _) -> tuple[DecodeState, Int[Array, " B"]]:
        key, draw_key = jax.random.split(state.key)
        tokens = draw(jnp.where(allowed, state.logits, -jnp.inf), sampling, draw_key)
        index = state.next_position[:, None]
        positions = Positions(index, jnp.ones_like(index))
        hidden, cache = model(tokens[:, None], positions, cache=state.cache)
        assert cache is not None
        logits = model.logits(hidden[:, -1])
        return DecodeState(cache, logits, state.next_position + 1, key), tokens

    return jax.lax.scan(next_token, state, length=num_tokens)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """B prompts as token ids, and the ids that may follow them."""

    tokens: Sequence[Sequence[int]]
    """B prompts of any lengths."""
    allowed: np.ndarray
    """[B, V] bool, False for ids that are never drawn."""
    allowed_first: np.ndarray
    """[B, V] bool, the same for the first token that is drawn."""
    end_id: int | None
    """The id that ends a row; None if no id does."""

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the left-padded prompts as [B, T] int32, and their lengths as [B] int32."""
        lengths = np.array([len(prompt) for prompt in self.tokens], np.int32)
        # The width is a power of two, so that only a few shapes are ever compiled.
        width = 1 << int(lengths.max() - 1).bit_length()
        rows = np.zeros((len(lengths), width), np.int32)
        for row, prompt in zip(rows, self.tokens, strict=True):
            row[width - len(prompt) :] = prompt
        return rows, lengths


def generate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Prompts,
    *,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yield the new tokens, [B, n] at a time, until every row has ended or has `max_tokens`.

    A row that has drawn its `end_id` still gets tokens; the caller cuts it there.
    """
    chunks = _decode_in_chunks(graphdef, params, prompts, max_tokens, sampling, seed)
    running = np.ones(len(prompts.tokens), bool)
    num_left = max_tokens
    # Each chunk is read only once the next one is dispatched, so that the device never waits.
    for chunk, _ in itertools.pairwise(itertools.chain(chunks, [None])):
        tokens = np.asarray(chunk).T[:, :num_left]
        num_left -= tokens.shape[1]
        yield tokens
        if prompts.end_id is not None:
            running &= ~(tokens == prompts.end_id).any(axis=1)
        if not running.any():
            return


def _decode_in_chunks(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Prompts,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[Int[Array, "n B"]]:
    """Yield at least `max_tokens` tokens: one, and then CHUNK at a time."""
    rows, lengths = prompts.padded()
    sizes = [1] + [CHUNK] * -(-(max_tokens - 1) // CHUNK)
    cache_length = rows.shape[1] + sum(sizes)
    key = jax.random.key(seed)
    state = prefill(graphdef, params, rows, lengths, key, cache_length=cache_length)
    allowed = prompts.allowed_first
    for num_tokens in sizes:
        state, tokens = decode(
            graphdef, params, allowed, state, sampling=sampling, num_tokens=num_tokens
        )
        allowed = prompts.allowed
        yield tokens
