"""Text from a model: prefill, then a decode loop over a cache, both jitted with static shapes."""

import dataclasses
import functools
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
"""Tokens decoded between two looks by the host, after the first token, which is shown at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn from the model's distribution."""

    temperature: float = 1.0
    """Logits are divided by it; 0 always takes the most likely token."""
    top_k: int | None = None
    """Draw from the k most likely tokens only."""
    top_p: float | None = None
    """Draw from the fewest tokens whose probability reaches p (Holtzman et al. 2020)."""

    def __post_init__(self):
        check(self.temperature >= 0, f"temperature={self.temperature} must not be negative; 0 is "
              "greedy")  # fmt: skip
        check(self.top_k is None or self.top_k > 0, f"top_k={self.top_k} must be above zero")
        check(self.top_p is None or 0 < self.top_p <= 1, f"top_p={self.top_p} must lie in (0, 1]")


def draw(logits: Float[Array, "B V"], sampling: Sampling, key: Key[Array, ""]) -> Int[Array, " B"]:
    """One token per row."""
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        smallest = jax.lax.top_k(logits, min(sampling.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if sampling.top_p is not None:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        # A token is kept while the tokens before it have not reached p; the first always is.
        kept = jnp.cumsum(probabilities, axis=-1) - probabilities < sampling.top_p
        smallest = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    return jax.random.categorical(key, logits, axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
    """Between two decoded tokens."""

    cache: KVCache
    logits: Float[Array, "B V"]
    """Of the next token."""
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
    """Run the left-padded prompts, of `lengths` real tokens each, through the model at once."""
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
    """Draw `num_tokens` tokens for every row, each from the model's view of all before it.

    Args:
      allowed: False for the ids that a row must not draw, such as padding.
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


def generate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
    end_id: int | None,
    allowed: np.ndarray,
    allowed_first: np.ndarray,
) -> Iterator[np.ndarray]:
    """Yields [B, n] new tokens as they are made, until every row has drawn `end_id` (None: never) or
    `max_tokens`.

    A row goes on after its `end_id`; the caller cuts it there.

    Args:
      prompts: token ids, of any lengths.
      allowed: [B, V] bool, False for ids that are never drawn.
      allowed_first: the same for the first token that is drawn.
    """
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    # Prompts are padded to a power of two, so that few shapes are ever compiled.
    width = 1 << int(lengths.max() - 1).bit_length()
    padded = np.zeros((len(prompts), width), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[width - len(prompt) :] = prompt
    sizes = [1] + [CHUNK] * -(-(max_tokens - 1) // CHUNK)
    state = prefill(
        graphdef,
        params,
        padded,
        lengths,
        jax.random.key(seed),
        cache_length=width + sum(sizes),
    )
    running = np.ones(len(prompts), bool)
    left = max_tokens
    pending, may_draw = None, allowed_first
    for size in [*sizes, 0]:
        chunk = pending
        if size:  # dispatched before the chunk before it is read, so that the device never waits
            state, pending = decode(
                graphdef, params, may_draw, state, sampling=sampling, num_tokens=size
            )
            may_draw = allowed
        if chunk is not None:
            tokens = np.asarray(chunk).T[:, :left]
            left -= tokens.shape[1]
            yield tokens
            if end_id is not None:
                running &= ~(tokens == end_id).any(axis=1)
            if not running.any():
                return
