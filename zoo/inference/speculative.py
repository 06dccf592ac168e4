"""Speculative decoding: a small draft model proposes tokens, and the model reads them all at once.

The tokens have exactly the distribution of the model's own (Leviathan et al. 2023, arXiv
2211.17192, algorithm 1). What is drawn from is that distribution after temperature, top-k and
top-p, of both models; with temperature 0 the text is the one that the model decodes alone.

All rows of a batch keep the same number of tokens in a round, that of the row that keeps fewest
among those that have not ended. This changes no distribution: whether a token is kept depends only
on the tokens before it, and one that is not kept is drawn again.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from models.attention.cache import MOST_NEW, KVCache
from models.config import check
from models.positions import Positions
from models.transformer import Transformer
from zoo.distribution.hosts import whole
from zoo.inference.decode import (
    CHUNK,
    Chunk,
    DecodeState,
    Prompts,
    Sampling,
    kept_logits,
    prefill,
    read_prompts,
)


@dataclasses.dataclass
class Tally:
    """Counts of a draft's tokens; all rows of a batch together count as one."""

    proposed: int = 0
    kept: int = 0

    def add(self, chunk: Chunk) -> None:
        """Count the proposals behind a chunk: one fewer a round than tokens to read."""
        counts = whole(chunk.count)
        self.proposed += (chunk.tokens.shape[-2] - 1) * counts.size
        self.kept += int(counts.sum()) - counts.size

    def to_json(self) -> dict[str, float]:
        """Return the counts and the rate."""
        return dataclasses.asdict(self) | {"acceptance_rate": self.acceptance_rate}

    @property
    def acceptance_rate(self) -> float:
        """The share of the proposed tokens that were kept; 0 before any was proposed."""
        return self.kept / max(1, self.proposed)


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
    """A small model of the same vocabulary, which proposes tokens; every device has all of it."""

    graphdef: nnx.GraphDef
    params: nnx.State
    num_tokens: int
    """Tokens that it proposes in a round."""
    tally: Tally = dataclasses.field(default_factory=Tally)
    """The proposals so far."""

    def __post_init__(self):
        check(
            0 < self.num_tokens < MOST_NEW,
            f"--draft-tokens={self.num_tokens} must be from 1 to {MOST_NEW - 1}",
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpeculativeState:
    """The state of both models between two rounds."""

    model: DecodeState
    draft_cache: KVCache
    is_running: Bool[Array, " B"]
    """False for a row that has drawn the end of its document: the others do not wait for it."""


def draw_in_rounds(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    draft: Draft,
    prompts: Prompts,
    *,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[Chunk]:
    """Yield at least `max_tokens` tokens: one, and then several rounds at a time."""
    rows, lengths = prompts.padded()
    size = draft.num_tokens + 1
    num_rounds = -(-CHUNK // size)
    # A chunk may begin one token before the last, and the next one is under way when it is read.
    cache_length = rows.shape[1] + max_tokens + 2 * num_rounds * size
    after_prompts = prefill(
        graphdef,
        params,
        prompts.allowed_first,
        rows,
        lengths,
        jax.random.key(seed),
        cache_length=cache_length,
        sampling=sampling,
    )
    state = SpeculativeState(
        after_prompts,
        prefill_draft(draft.graphdef, draft.params, rows, lengths, cache_length=cache_length),
        after_prompts.token != _end_id(prompts),
    )
    yield Chunk.first(state.model)
    for _ in range(-(-(max_tokens - 1) // num_rounds)):
        state, chunk = draw_rounds(
            (graphdef, draft.graphdef),
            (params, draft.params),
            prompts.allowed,
            _end_id(prompts),
            state,
            sampling=sampling,
            num_proposed=draft.num_tokens,
            num_rounds=num_rounds,
        )
        yield chunk


def _end_id(prompts: Prompts) -> np.ndarray:
    return np.array(-1 if prompts.end_id is None else prompts.end_id, np.int32)


@functools.partial(jax.jit, static_argnames=("graphdef", "cache_length"))
def prefill_draft(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Int[Array, "B T"],
    lengths: Int[Array, " B"],
    *,
    cache_length: int,
) -> KVCache:
    """Return the draft's cache of the left-padded prompts."""
    with nnx.logical_axis_rules(()):
        return read_prompts(nnx.merge(graphdef, params), prompts, lengths, cache_length)[1]


@functools.partial(
    jax.jit,
    static_argnames=("graphdefs", "sampling", "num_proposed", "num_rounds"),
    donate_argnames=("state",),
)
def draw_rounds(
    graphdefs: tuple[nnx.GraphDef, nnx.GraphDef],
    params: tuple[nnx.State, nnx.State],
    allowed: Bool[Array, "B V"],
    end_id: Int[Array, ""],
    state: SpeculativeState,
    *,
    sampling: Sampling,
    num_proposed: int,
    num_rounds: int,
) -> tuple[SpeculativeState, Chunk]:
    """Draw from 1 to `num_proposed` + 1 tokens for every row in each of several rounds.

    Args:
      graphdefs: the model and its draft; so are `params`.
      end_id: ends a row; -1 if no id does.
    """
    model, draft = (nnx.merge(*each) for each in zip(graphdefs, params, strict=True))

    def draw_round(state: SpeculativeState, _) -> tuple[SpeculativeState, Chunk]:
        before = state.model
        key, draft_key, verify_key = jax.random.split(before.key, 3)
        draft_cache, proposed, log_q = _propose(
            draft, state, allowed, sampling, jax.random.split(draft_key, num_proposed + 1)
        )
        read = jnp.concatenate([before.token[:, None], proposed], axis=1)
        index = before.next_position[:, None] + jnp.arange(num_proposed + 1)
        hidden, cache = model(read, Positions(index, jnp.ones_like(index)), cache=before.cache)
        assert cache is not None
        log_p = _log_probabilities(model, hidden, allowed, sampling)
        tokens, count = verify(log_p, log_q, proposed, state.is_running, verify_key)

        def shortened(cache: KVCache) -> KVCache:
            # Later tokens overwrite the cells beyond, and until then none is late enough to see
            # them.
            length = before.cache.length + count
            return dataclasses.replace(cache, length=jnp.asarray(length, jnp.int32))

        newest = jnp.take(tokens, count - 1, axis=1)
        after = DecodeState(shortened(cache), newest, before.next_position + count, key)
        is_end = (tokens == end_id) & (jnp.arange(num_proposed + 1) < count)
        is_running = state.is_running & ~jnp.any(is_end, axis=1)
        return SpeculativeState(after, shortened(draft_cache), is_running), Chunk(tokens.T, count)

    return jax.lax.scan(draw_round, state, length=num_rounds)


def _propose(
    draft: Transformer,
    state: SpeculativeState,
    allowed: Bool[Array, "B V"],
    sampling: Sampling,
    keys: Key[Array, " R"],
) -> tuple[KVCache, Int[Array, "B R-1"], Float[Array, "B R-1 V"]]:
    """Return the draft's cache, its tokens, and the log-probabilities that they were drawn by.

    The draft also reads its last token, which the model may keep; what it draws then is dropped.
    """

    def next_token(carry: tuple[KVCache, Array, Array], key: Array):
        cache, token, position = carry
        index = position[:, None]
        hidden, cache = draft(token[:, None], Positions(index, jnp.ones_like(index)), cache=cache)
        assert cache is not None
        log_q = _log_probabilities(draft, hidden, allowed, sampling)[:, 0]
        token = jax.random.categorical(key, log_q, axis=-1).astype(token.dtype)
        return (cache, token, position + 1), (token, log_q)

    carry = state.draft_cache, state.model.token, state.model.next_position
    with nnx.logical_axis_rules(()):  # every device has the whole draft
        (cache, _, _), (tokens, log_q) = jax.lax.scan(next_token, carry, keys)
    return cache, tokens[:-1].T, log_q[:-1].swapaxes(0, 1)


def _log_probabilities(
    model: Transformer,
    hidden: Float[Array, "B T D"],
    allowed: Bool[Array, "B V"],
    sampling: Sampling,
) -> Float[Array, "B T V"]:
    """Return the log-probabilities by which tokens are drawn after each hidden state."""
    logits = jnp.where(allowed[:, None], model.logits(hidden), -jnp.inf)
    return jax.nn.log_softmax(kept_logits(logits, sampling))


def verify(
    log_p: Float[Array, "B R V"],
    log_q: Float[Array, "B R-1 V"],
    proposed: Int[Array, "B R-1"],
    is_running: Bool[Array, " B"],
    key: Key[Array, ""],
) -> tuple[Int[Array, "B R"], Int[Array, ""]]:
    """Return tokens, and how many of them are drawn by the model's probabilities p.

    Args:
      log_p: after the newest token and after each proposed one.
      log_q: the draft's, by which `proposed` was drawn.
      is_running: False for rows whose tokens mean nothing any more.
    """
    accept_key, draw_key = jax.random.split(key)

    def of_proposed(log_probabilities: Array) -> Array:
        return jnp.take_along_axis(log_probabilities, proposed[..., None], axis=-1)[..., 0]

    ratio = jnp.exp(of_proposed(log_p[:, :-1]) - of_proposed(log_q))
    accepted = jax.random.uniform(accept_key, ratio.shape) < ratio
    num_accepted = jnp.sum(jnp.cumprod(accepted, axis=1), axis=1)
    # Once all have ended, all count: an acceptance rate must not count such rounds as kept whole.
    is_counted = is_running | ~jnp.any(is_running)
    fewest = jnp.min(jnp.where(is_counted, num_accepted, proposed.shape[1]))
    # A rejected token is replaced by one of the probabilities that the draft gives too little. A
    # draft of probability 0 after its last token leaves all of p.
    p = jnp.exp(jnp.take(log_p, fewest, axis=1))
    q = jnp.exp(jnp.take(log_q, fewest, axis=1, mode="fill", fill_value=-jnp.inf))
    missing = jnp.maximum(p - q, 0.0)
    missing = jnp.where(jnp.any(missing > 0, axis=1, keepdims=True), missing, p)  # for rounding
    replacement = jax.random.categorical(draw_key, jnp.log(missing), axis=-1)
    drafted = jnp.pad(proposed, ((0, 0), (0, 1)))
    is_last = jnp.arange(drafted.shape[1]) == fewest
    is_replaced = is_last & (num_accepted == fewest)[:, None]
    tokens = jnp.where(is_replaced, replacement[:, None], drafted)
    return tokens.astype(proposed.dtype), fewest + 1
