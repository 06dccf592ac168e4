"""Generate tokens: prefill, then a decode loop over a cache, both jitted with static shapes."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from models.attention.cache import KVCache
from models.config import check
from models.positions import Positions
from models.transformer import Transformer
from zoo.distribution.hosts import whole

CHUNK = 16
"""Tokens that one call decodes before the host reads them.

The first token comes with the prompts, so that it can be shown at once.
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
    return jax.random.categorical(key, kept_logits(logits, sampling), axis=-1)


def kept_logits(logits: Float[Array, "*batch V"], sampling: Sampling) -> Float[Array, "*batch V"]:
    """Return the logits of the distribution that tokens are drawn from; -inf for what is left out.

    With temperature 0, the most likely token has all of it.
    """
    if sampling.temperature == 0:
        is_likeliest = jnp.arange(logits.shape[-1]) == jnp.argmax(logits, axis=-1)[..., None]
        return jnp.where(is_likeliest, 0.0, -jnp.inf)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        smallest = jax.lax.top_k(logits, min(sampling.top_k, logits.shape[-1]))[0][..., -1:]
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
    return logits


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
    """The state of the decode loop between two tokens."""

    cache: KVCache
    token: Int[Array, " B"]
    """The newest token, which is not in the cache yet."""
    next_position: Int[Array, " B"]
    """Its position."""
    key: Key[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chunk:
    """The tokens that one call draws, in one or several rounds."""

    tokens: Int[Array, "*rounds R B"]
    """In a round, only the first `count` are drawn."""
    count: Int[Array, "*rounds"]

    @staticmethod
    def first(state: DecodeState) -> "Chunk":
        """Return the token that comes with the prompts."""
        # A copy, since the next call takes over the buffers of the state.
        return Chunk(jnp.copy(state.token)[None, None], jnp.ones(1, jnp.int32))

    def on_host(self) -> np.ndarray:
        """Return all drawn tokens as [B, n]."""
        rounds = zip(whole(self.tokens), whole(self.count), strict=True)
        return np.concatenate([tokens[:count] for tokens, count in rounds]).T


@functools.partial(jax.jit, static_argnames=("graphdef", "cache_length", "sampling"))
def prefill(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    allowed: Bool[Array, "B V"],
    prompts: Int[Array, "B T"],
    lengths: Int[Array, " B"],
    key: Key[Array, ""],
    *,
    cache_length: int,
    sampling: Sampling,
) -> DecodeState:
    """Run the left-padded prompts, each of `lengths` real tokens, through the model at once.

    The result has the first token that is drawn; `allowed` is False for the ids that it must not
    be.
    """
    model: Transformer = nnx.merge(graphdef, params)
    hidden, cache = read_prompts(model, prompts, lengths, cache_length)
    return _draw_next(model, hidden, cache, allowed, lengths, key, sampling)


def read_prompts(
    model: Transformer, prompts: Int[Array, "B T"], lengths: Int[Array, " B"], cache_length: int
) -> tuple[Float[Array, "B T D"], KVCache]:
    """Return the hidden states of left-padded prompts, and a cache of them for more tokens."""
    batch_size, width = prompts.shape
    index = jnp.arange(width) - (width - lengths[:, None])
    positions = Positions(jnp.maximum(index, 0), (index >= 0).astype(jnp.int32))
    cache = model.empty_cache(batch_size, cache_length)
    hidden, cache = model(prompts, positions, cache=cache)
    assert cache is not None
    return hidden, dataclasses.replace(cache, length=jnp.asarray(width, jnp.int32))


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
        index = state.next_position[:, None]
        positions = Positions(index, jnp.ones_like(index))
        hidden, cache = model(state.token[:, None], positions, cache=state.cache)
        assert cache is not None
        position = state.next_position + 1
        state = _draw_next(model, hidden, cache, allowed, position, state.key, sampling)
        return state, state.token

    return jax.lax.scan(next_token, state, length=num_tokens)


def _draw_next(
    model: Transformer,
    hidden: Float[Array, "B T D"],
    cache: KVCache,
    allowed: Bool[Array, "B V"],
    position: Int[Array, " B"],
    key: Key[Array, ""],
    sampling: Sampling,
) -> DecodeState:
    """Return the state with the token that follows the last hidden state."""
    key, draw_key = jax.random.split(key)
    logits = jnp.where(allowed, model.logits(hidden[:, -1]), -jnp.inf)
    return DecodeState(cache, draw(logits, sampling, draw_key), position, key)


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


def draw_in_chunks(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Prompts,
    *,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[Chunk]:
    """Yield at least `max_tokens` tokens: one, and then CHUNK at a time."""
    rows, lengths = prompts.padded()
    num_chunks = -(-(max_tokens - 1) // CHUNK)
    state = prefill(
        graphdef,
        params,
        prompts.allowed_first,
        rows,
        lengths,
        jax.random.key(seed),
        cache_length=rows.shape[1] + num_chunks * CHUNK,
        sampling=sampling,
    )
    yield Chunk.first(state)
    for _ in range(num_chunks):
        state, tokens = decode(
            graphdef, params, prompts.allowed, state, sampling=sampling, num_tokens=CHUNK
        )
        yield Chunk(tokens[:, None], jnp.ones(CHUNK, jnp.int32))
