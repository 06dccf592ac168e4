"""A trained encoder and decoder for a program to use: it reads a text and writes another one."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from configs.experiment import Experiment
from configs.parts.objectives import SpanCorruption
from data.vocabularies.vocabulary import Vocabulary
from models.attention.cross import Source
from models.config import check
from models.encoders.encoder_decoder import EncoderDecoderModel
from models.positions import Positions
from zoo.inference.decode import CHUNK, DecodeState, Sampling, draw
from zoo.inference.new_text import NewText
from zoo.training.spans import START_ID

SPAN = "[SPAN]"
"""The mark of a gap in a source, and of the text that fills it in what the model writes."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextToTextModel:
    """An encoder and a decoder with their parameters and their vocabulary."""

    experiment: Experiment
    graphdef: nnx.GraphDef
    params: nnx.State
    vocabulary: Vocabulary

    def sample(
        self,
        sources: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> list[str]:
        """Return what the decoder writes for each source.

        A model of cut spans reads `[SPAN]` as a gap, by default one at the end of the source, and
        writes `[SPAN]` before the text of each. Raises ConfigError for a source that is too long.
        """
        texts = [""] * len(sources)
        for additions in self.stream(sources, max_tokens=max_tokens, sampling=sampling, seed=seed):
            texts = [text + addition for text, addition in zip(texts, additions, strict=True)]
        return texts

    def stream(
        self,
        sources: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> Iterator[list[str]]:
        """Yield the new text of every row as soon as it is written; otherwise as `sample`."""
        rows = [self._encode(source) for source in sources]
        num_gaps = [sum(self.is_sentinel(token) for token in row) for row in rows]
        texts = [_Written(self, gaps) for gaps in num_gaps]
        for chunk in self._draw(rows, max_tokens, sampling, seed):
            yield [text.feed(new) for text, new in zip(texts, chunk.tolist(), strict=True)]
            if all(text.has_ended for text in texts):
                break
        yield [text.flush() for text in texts]

    def sample_ids(
        self,
        sources: Sequence[Sequence[int]],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> list[list[int]]:
        """Return the ids that the decoder writes for each source, up to the end of a document."""
        chunks = self._draw([self._check(row) for row in sources], max_tokens, sampling, seed)
        written = np.concatenate(list(chunks), axis=1).tolist()
        end_id = self.vocabulary.eos_id
        return [row[: row.index(end_id)] if end_id in row else row for row in written]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(target | source) of each pair of texts, in nats."""
        scores = []
        for source, target in pairs:
            source_row = self._padded([self._encode(source)])
            ids = np.array([self.vocabulary.encode(target)], np.int32)
            log_p = target_scores(self.graphdef, self.params, *source_row, ids)
            scores.append(float(np.asarray(log_p, np.float64).sum()))
        return scores

    @property
    def spans(self) -> SpanCorruption | None:
        """The objective, if it is that of cut spans."""
        objective = self.experiment.objective
        return objective if isinstance(objective, SpanCorruption) else None

    def is_sentinel(self, token: int) -> bool:
        """Return whether the id stands for a span."""
        return self.spans is not None and token >= self.vocabulary.size

    def _encode(self, source: str) -> list[int]:
        if self.spans is None:
            return self._check(self.vocabulary.encode(source))
        parts = source.split(SPAN) if SPAN in source else [source, ""]
        row = self.vocabulary.encode(parts[0])
        for number, part in enumerate(parts[1:]):
            row += [self.spans.first_sentinel - number, *self.vocabulary.encode(part)]
        return self._check(row)

    def _check(self, row: Sequence[int]) -> list[int]:
        """Return the row; raise ConfigError unless it is ids of the model and fits in it."""
        model = self.experiment.model
        check(
            0 < len(row) <= model.context_length,
            f"a source has {len(row)} tokens; give at least one, and at most the model's "
            f"context_length of {model.context_length}",
        )
        outside = [token for token in row if not 0 <= token < model.vocab_size]
        check(not outside, f"the token ids {outside[:5]} are not in 0 to {model.vocab_size - 1}")
        return list(row)

    def _padded(self, rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of one length, a power of two, and the number of tokens of each."""
        lengths = np.array([len(row) for row in rows], np.int32)
        width = 1 << int(lengths.max() - 1).bit_length()
        padded = [row + [START_ID] * (width - len(row)) for row in rows]
        return np.array(padded, np.int32), lengths

    def _draw(
        self, rows: list[list[int]], max_tokens: int, sampling: Sampling, seed: int
    ) -> Iterator[np.ndarray]:
        """Yield new tokens [B, n], n at a time, until all rows have ended or have `max_tokens`."""
        check(max_tokens > 0, f"max_tokens={max_tokens} must be above zero")
        num_chunks, num_left = -(-max_tokens // CHUNK), max_tokens
        sources, state = start(
            self.graphdef,
            self.params,
            *self._padded(rows),
            jax.random.key(seed),
            cache_length=num_chunks * CHUNK,
        )
        running = np.ones(len(rows), bool)
        for _ in range(num_chunks):
            state, tokens = write(
                self.graphdef, self.params, sources, self._is_allowed, state, sampling=sampling
            )
            chunk = np.asarray(tokens).T[:, :num_left]
            num_left -= chunk.shape[1]
            yield chunk
            running &= ~(chunk == self.vocabulary.eos_id).any(axis=1)
            if not running.any():
                return

    @functools.cached_property
    def _is_allowed(self) -> np.ndarray:
        """[V] bool, False for marks that are neither text nor a sentinel nor an end."""
        v = self.vocabulary
        size = self.experiment.model.vocab_size
        is_allowed = np.array([i < v.size or self.is_sentinel(i) for i in range(size)])
        for mark in (v.pad_id, v.unk_id, v.bos_id):
            if mark is not None and mark != v.eos_id:
                is_allowed[mark] = False
        return is_allowed


class _Written:
    """The text of one row, as it is written."""

    def __init__(self, model: TextToTextModel, num_gaps: int):
        self._model, self._num_left = model, num_gaps + 1
        self._text = NewText(model.vocabulary, [], skips_space=False)
        self.has_ended = False

    def feed(self, tokens: list[int]) -> str:
        """Return the text of new tokens, with a mark for each sentinel but the last."""
        text = ""
        for token in tokens:
            if self.has_ended:
                break
            if self._model.is_sentinel(token):
                self._num_left -= 1
                self.has_ended = self._num_left == 0
                text += "" if self.has_ended else f"\n{SPAN} "
            else:
                self.has_ended = token == self._model.vocabulary.eos_id
                text += self._text.feed([token])
        return text

    def flush(self) -> str:
        """Return what is left at the end."""
        return self._text.flush()


@functools.partial(jax.jit, static_argnames=("graphdef", "cache_length"))
def start(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    rows: Int[Array, "B S"],
    lengths: Int[Array, " B"],
    key: jax.Array,
    *,
    cache_length: int,
) -> tuple[tuple[Source, ...], DecodeState]:
    """Read the sources; return what each layer of the decoder reads, and the first state."""
    model: EncoderDecoderModel = nnx.merge(graphdef, params)
    positions = _positions(rows, lengths)
    sources = model.sources(model.encode(rows, positions), positions)
    cache = model.empty_cache(len(rows), cache_length)
    cache = dataclasses.replace(cache, length=jnp.zeros((), jnp.int32))
    token = jnp.full(len(rows), START_ID, jnp.int32)
    return sources, DecodeState(cache, token, jnp.zeros(len(rows), jnp.int32), key)


@functools.partial(jax.jit, static_argnames=("graphdef", "sampling"), donate_argnames=("state",))
def write(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    sources: tuple[Source, ...],
    is_allowed: Bool[Array, " V"],
    state: DecodeState,
    *,
    sampling: Sampling,
) -> tuple[DecodeState, Int[Array, "CHUNK B"]]:
    """Draw CHUNK tokens for every row."""
    model: EncoderDecoderModel = nnx.merge(graphdef, params)

    def next_token(state: DecodeState, _) -> tuple[DecodeState, Int[Array, " B"]]:
        index = state.next_position[:, None]
        positions = Positions(index, jnp.ones_like(index))
        hidden, cache = model.step(state.token[:, None], positions, sources, state.cache)
        logits = jnp.where(is_allowed, model.head()(hidden[:, -1]), -jnp.inf)
        key, draw_key = jax.random.split(state.key)
        token = draw(logits, sampling, draw_key).astype(jnp.int32)
        return DecodeState(cache, token, state.next_position + 1, key), token

    return jax.lax.scan(next_token, state, length=CHUNK)


@functools.partial(jax.jit, static_argnames="graphdef")
def target_scores(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    rows: Int[Array, "B S"],
    lengths: Int[Array, " B"],
    targets: Int[Array, "B U"],
) -> Float[Array, "B U"]:
    """Return log p of each token of the targets, given those before it and its source."""
    model: EncoderDecoderModel = nnx.merge(graphdef, params)
    source_positions = _positions(rows, lengths)
    encoded = model.encode(rows, source_positions)
    inputs = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=START_ID)
    positions = Positions.whole_rows(*inputs.shape)
    hidden = model.decode(inputs, positions, encoded, source_positions)
    log_p = jax.nn.log_softmax(model.head()(hidden))
    return jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]


def _positions(rows: Int[Array, "B S"], lengths: Int[Array, " B"]) -> Positions:
    """Return the positions of sources with padding at their ends."""
    index = jnp.broadcast_to(jnp.arange(rows.shape[1]), rows.shape)
    return Positions(index, (index < lengths[:, None]).astype(jnp.int32))
