"""A trained encoder for a program to use: it fills gaps, and judges every token of a text."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from configs.experiment import Experiment
from configs.parts.objectives import MaskedTokens
from data.vocabularies.vocabulary import Vocabulary
from models.config import check
from models.encoders.encoder import EncoderModel
from models.positions import Positions

MASK = "[MASK]"
"""The mark of a gap in a text: one token."""
BATCH = 32
"""Rows that are computed at a time."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A token that may fill a gap."""

    text: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text whose gaps are filled."""

    text: str
    """With the likeliest token in each gap."""
    gaps: list[list[Candidate]]
    """The likeliest tokens of each gap, the best first. Each gap is judged by itself."""


@dataclasses.dataclass(frozen=True)
class PseudoScore:
    """The sum over a text's tokens of log p(token | all other tokens).

    It is the pseudo-log-likelihood (Salazar et al. 2020, arXiv 1910.14659), which is no probability
    of the text: it does not sum to 1 over texts, and cannot be compared with bits per byte.
    """

    pseudo_log_likelihood: float
    """In nats."""
    num_tokens: int
    num_best: int
    """Tokens that are the likeliest at their place."""


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedTextModel:
    """An encoder with its parameters and its vocabulary."""

    experiment: Experiment
    graphdef: nnx.GraphDef
    params: nnx.State
    vocabulary: Vocabulary

    def fill(self, texts: Sequence[str], num_candidates: int = 5) -> list[Filled]:
        """Fill each `[MASK]` of the texts with one token, from both sides of it.

        Raises ConfigError for a text without a gap, or one that is too long.
        """
        return [self._fill(text, num_candidates) for text in texts]

    def pseudo_score(self, text: str) -> PseudoScore:
        """Return the pseudo-log-likelihood of a text: `pseudo_score_ids` of its tokens."""
        return self.pseudo_score_ids(self.vocabulary.encode(text))

    def pseudo_score_ids(self, ids: Sequence[int]) -> PseudoScore:
        """Hide every token in turn, and sum the log-probabilities of what is hidden.

        A text longer than the context is cut into windows of that length, each by itself. It costs
        a forward pass per token.
        """
        total, num_best = 0.0, 0
        for rows, columns, targets in self._hidden_in_turn(np.asarray(ids, np.int32)):
            log_p = np.asarray(self._log_p(rows, columns))
            hidden = log_p[np.arange(len(targets)), targets]
            total += float(hidden.astype(np.float64).sum())
            num_best += int((log_p[: len(targets)].argmax(axis=1) == targets).sum())
        return PseudoScore(total, len(ids), num_best)

    @property
    def room(self) -> int:
        """Tokens of a text that fit between the marks of a sequence."""
        return self.experiment.model.context_length - 2

    @property
    def _objective(self) -> MaskedTokens:
        assert isinstance(self.experiment.objective, MaskedTokens)
        return self.experiment.objective

    def _fill(self, text: str, num_candidates: int) -> Filled:
        parts = text.split(MASK)
        check(
            len(parts) > 1,
            f"the text {text[:40]!r} has no {MASK}, and an encoder fills gaps: it writes no text; "
            f'write for example --prompt="import {MASK}"',
        )
        mask_id = self._objective.mask_id
        ids: list[int] = []
        for number, part in enumerate(parts):
            ids += [mask_id] * (number > 0) + self.vocabulary.encode(part)
        check(
            len(ids) <= self.room,
            f"the text {text[:40]!r}... has {len(ids)} tokens, and the model has room for "
            f"{self.room}; shorten it",
        )
        row = self._sequence(np.array(ids, np.int32))
        gaps = np.flatnonzero(row == mask_id)
        found, filled = [], row.copy()
        for start in range(0, len(gaps), BATCH):
            columns = gaps[start : start + BATCH]
            log_p = np.asarray(self._log_p(np.tile(row, (len(columns), 1)), columns))
            log_p = np.where(self._is_text, log_p[: len(columns)], -np.inf)
            best = np.argsort(-log_p, axis=1)[:, :num_candidates]
            filled[columns] = best[:, 0]
            found += [
                [
                    Candidate(self.vocabulary.decode([i]), math.exp(p[i]))
                    for i in map(int, candidates)
                ]
                for p, candidates in zip(log_p, best, strict=True)
            ]
        return Filled(self.vocabulary.decode(filled[1 : len(ids) + 1].tolist()), found)

    def _hidden_in_turn(
        self, ids: Int[np.ndarray, " n"]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield rows with one hidden token each, its columns, and the tokens."""
        for start in range(0, len(ids), self.room):
            window = ids[start : start + self.room]
            row = self._sequence(window)
            for first in range(0, len(window), BATCH):
                targets = window[first : first + BATCH]
                columns = np.arange(first, first + len(targets)) + 1
                rows = np.tile(row, (len(targets), 1))
                rows[np.arange(len(targets)), columns] = self._objective.mask_id
                yield rows, columns, targets

    def _sequence(self, ids: np.ndarray) -> np.ndarray:
        """Return the row [CLS] ids [SEP], and padding."""
        row = np.full(self.experiment.model.context_length, -1, np.int32)
        row[0], row[1 : len(ids) + 1] = self._objective.cls_id, ids
        row[len(ids) + 1] = self._objective.sep_id
        return row

    def _log_p(self, rows: np.ndarray, columns: np.ndarray) -> Float[Array, "B V"]:
        """Return log p of every token at one column of each row; rows are filled up to BATCH."""
        extra = BATCH - len(rows)
        rows = np.pad(rows, ((0, extra), (0, 0)), mode="edge")
        return log_probabilities(self.graphdef, self.params, rows, np.pad(columns, (0, extra)))

    @functools.cached_property
    def _is_text(self) -> np.ndarray:
        """[V] bool, False for marks that are not text and for ids that the vocabulary lacks."""
        v = self.vocabulary
        is_text = np.arange(self.experiment.model.vocab_size) < v.size
        for mark in (v.pad_id, v.unk_id, v.bos_id, v.eos_id):
            if mark is not None:
                is_text[mark] = False
        return is_text


@functools.partial(jax.jit, static_argnames="graphdef")
def encoder_logits(
    graphdef: nnx.GraphDef, params: nnx.State, rows: Int[Array, "B T"]
) -> Float[Array, "B T V"]:
    """Return the scores of all tokens at every column of rows without padding."""
    model: EncoderModel = nnx.merge(graphdef, params)
    return model.logits(model(rows, Positions.whole_rows(*rows.shape), jnp.zeros_like(rows)))


@functools.partial(jax.jit, static_argnames="graphdef")
def log_probabilities(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    rows: Int[Array, "B T"],
    columns: Int[Array, " B"],
) -> Float[Array, "B V"]:
    """Return log p(token | the rest of its row) of all tokens at one column of each row.

    Padding is -1.
    """
    model: EncoderModel = nnx.merge(graphdef, params)
    is_text = rows >= 0
    index = jnp.broadcast_to(jnp.arange(rows.shape[1]), rows.shape)
    positions = Positions(index, is_text.astype(jnp.int32))
    hidden = model(jnp.maximum(rows, 0), positions, jnp.zeros_like(rows))
    at_column = jnp.take_along_axis(hidden, columns[:, None, None], axis=1)[:, 0]
    return jax.nn.log_softmax(model.logits(at_column))
