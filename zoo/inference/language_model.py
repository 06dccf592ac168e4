"""A trained model for a program to use: `zoo.load(path)` returns a LanguageModel."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from configs.experiment import Experiment
from data.vocabularies.vocabulary import Vocabulary
from models.config import check
from zoo.distribution.hosts import whole
from zoo.inference import scores
from zoo.inference.decode import Prompts, Sampling
from zoo.inference.generation import generate
from zoo.inference.new_text import NewText
from zoo.inference.scores import Score
from zoo.inference.speculative import Draft
from zoo.training.program import Program


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model with its parameters and its vocabulary."""

    experiment: Experiment
    graphdef: nnx.GraphDef
    params: nnx.State
    vocabulary: Vocabulary
    program: Program | None = None
    """The mesh and the shardings, if several devices share the work; None: one device does it."""
    draft: Draft | None = None
    """A small model that proposes tokens, which changes no distribution; None: decode alone."""

    def sample(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> list[str]:
        """Return a continuation of every prompt, without the prompt.

        Raises ConfigError if a prompt is longer than the model's context.
        """
        texts = [""] * len(prompts)
        for additions in self.stream(prompts, max_tokens=max_tokens, sampling=sampling, seed=seed):
            texts = [text + addition for text, addition in zip(texts, additions, strict=True)]
        return texts

    def stream(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> Iterator[list[str]]:
        """Yield the new text of every row as soon as it is generated; otherwise as `sample`."""
        if not prompts:
            return
        tokens = [self._encode_prompt(prompt) for prompt in prompts]
        # The first token of a prompt that ended in a space must begin with that space. A vocabulary
        # in which no token begins with a space puts spaces between words by itself.
        begins_with_space = self._begins_with_space
        owes_space = (
            np.array([prompt.endswith(" ") for prompt in prompts]) & begins_with_space.any()
        )
        rows = [
            NewText(self.vocabulary, ids, skips_space=bool(owes))
            for ids, owes in zip(tokens, owes_space, strict=True)
        ]
        allowed_first = begins_with_space | ~owes_space[:, None]
        for chunk in self._draw(tokens, allowed_first, max_tokens, sampling, seed):
            yield [row.feed(new) for row, new in zip(rows, chunk, strict=True)]
        yield [row.flush() for row in rows]

    def sample_ids(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> list[list[int]]:
        """Return the token ids that continue every prompt, up to the mark that ends a document.

        A prompt is used as it is; begin it with `vocabulary.start`. This also works for a model
        without a tokenizer. Raises ConfigError for an empty prompt, one longer than the model's
        context, or an id that the model does not have.
        """
        if not prompts:
            return []
        tokens = [self._check_prompt(prompt) for prompt in prompts]
        end_id = self.vocabulary.eos_id
        rows: list[list[int]] = [[] for _ in tokens]
        for chunk in self._draw(tokens, np.array(True), max_tokens, sampling, seed):
            rows = [row + new for row, new in zip(rows, chunk, strict=True)]
        return [row[: row.index(end_id)] if end_id in row else row for row in rows]

    def _draw(
        self,
        tokens: list[list[int]],
        allowed_first: np.ndarray,
        max_tokens: int,
        sampling: Sampling,
        seed: int,
    ) -> Iterator[list[list[int]]]:
        """Yield the new ids of every row; `allowed_first` [B V] further limits the first of them.

        After the mark that ends a document, the ids of a row mean nothing.
        """
        check(max_tokens > 0, f"max_tokens={max_tokens} must be above zero")
        # The last token drawn is never fed back, so `context_length` inputs make one token more.
        room = self.experiment.model.context_length + 1 - max(map(len, tokens))
        num_rows, num_extra = len(tokens), self._num_padded(len(tokens)) - len(tokens)
        allowed, end_id = np.tile(self._is_text, (num_rows, 1)), self.vocabulary.eos_id
        extra = np.zeros((num_extra, len(self._is_text)), bool)
        extra[:, end_id or 0] = True  # rows that only fill the mesh end at once
        prompts = Prompts(
            tokens + [tokens[-1]] * num_extra,
            allowed=np.concatenate([allowed, extra]),
            allowed_first=np.concatenate([allowed & allowed_first, extra]),
            end_id=end_id,
        )
        chunks = generate(
            self.graphdef,
            self.params,
            prompts,
            max_tokens=min(max_tokens, room),
            sampling=sampling,
            seed=seed,
            draft=self.draft,
        )
        while True:
            with self._entered():  # not around the yield: the mesh is not the caller's
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk[:num_rows].tolist()

    def _entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.program is None else self.program.entered()

    def _num_padded(self, num_rows: int) -> int:
        """Return the number of rows with those that only make the rows divide over the mesh."""
        ways = 1 if self.program is None else self.program.experiment.batch_size
        return -(-num_rows // ways) * ways

    def _padded(self, tokens: ArrayLike | Sequence[Sequence[int]]) -> Int[Array, "B T"]:
        rows = jnp.asarray(tokens, jnp.int32)
        return jnp.pad(rows, ((0, self._num_padded(len(rows)) - len(rows)), (0, 0)))

    def _check_prompt(self, prompt: Sequence[int]) -> list[int]:
        """Return the prompt; raise ConfigError unless it is ids of the model and fits in it."""
        context = self.experiment.model.context_length
        check(
            0 < len(prompt) <= context,
            f"a prompt has {len(prompt)} token ids; give at least one, and at most the model's "
            f"context_length of {context}",
        )
        return self._known(prompt)

    def _known(self, ids: Sequence[int]) -> list[int]:
        """Return the ids; raise ConfigError if the model lacks one."""
        vocab_size = self.experiment.model.vocab_size
        outside = [token for token in ids if not 0 <= token < vocab_size]
        check(not outside, f"the token ids {outside[:5]} are not in 0 to {vocab_size - 1}")
        return list(ids)

    def _encode_prompt(self, prompt: str) -> list[int]:
        """Return the prompt's token ids, without its last space; raise ConfigError if it is unfit.

        A space is the first character of the token of the word that follows it. A prompt's last
        space is therefore left to the model, whose first token must then begin with it.
        """
        tokens = [*self.vocabulary.start, *self.vocabulary.encode(prompt.removesuffix(" "))]
        context = self.experiment.model.context_length
        check(
            bool(tokens),
            f"the prompt {prompt!r} has no tokens, and this model's vocabulary has no mark for the "
            "start of a document; write a prompt",
        )
        check(
            len(tokens) <= context,
            f"the prompt {prompt[:30]!r}... has {len(tokens)} tokens with its start mark and the "
            f"model's context_length is {context}; shorten the prompt",
        )
        return tokens

    @functools.cached_property
    def _is_text(self) -> np.ndarray:
        """[V] bool, False for marks that are not text and for ids that the vocabulary lacks."""
        vocabulary = self.vocabulary
        is_text = np.arange(self.experiment.model.vocab_size) < vocabulary.size
        for mark in (vocabulary.pad_id, vocabulary.unk_id, vocabulary.bos_id):
            if mark is not None:
                is_text[mark] = mark == vocabulary.eos_id
        return is_text

    @functools.cached_property
    def _begins_with_space(self) -> np.ndarray:
        """[V] bool, True for tokens whose text begins with a space."""
        begins = [self.vocabulary.begins_with_space(i) for i in range(self.vocabulary.size)]
        return np.pad(begins, (0, self.experiment.model.vocab_size - len(begins)))

    def logits(self, tokens: ArrayLike | Sequence[Sequence[int]]) -> Float[Array, "B T V"]:
        """Return the logits of every next token.

        Each row is one document; begin it with `vocabulary.start`.
        """
        rows = self._padded(tokens)
        with self._entered():
            logits = scores.logits(self.graphdef, self.params, rows)
        return logits[: len(np.asarray(tokens))]

    def token_scores(
        self, tokens: ArrayLike | Sequence[Sequence[int]]
    ) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
        """Return the log-probability of each token but the first, and whether it is the likeliest.

        Each row of `tokens`, [B, T + 1], is one document, with anything after its end.
        """
        rows, num_rows = self._padded(tokens), len(np.asarray(tokens))
        with self._entered():
            log_p, is_likeliest = scores.token_scores(self.graphdef, self.params, rows)
        return log_p[:num_rows], is_likeliest[:num_rows]

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Return the log-probability of each text.

        A text longer than the context is cut into windows of that length, each scored by itself.
        """
        measured = []
        for text in texts:
            ids = [*self.vocabulary.start, *self.vocabulary.encode(text)]
            num_bytes = self.vocabulary.num_bytes(text, ids)
            measured.append(Score(*self._log_probability(ids), num_bytes))
        return measured

    def score_ids(self, rows: Sequence[Sequence[int]]) -> list[Score]:
        """Return the log-probability of each row of token ids, given its first id; as `score`.

        This also works for a model without a tokenizer; the scores have no bytes.
        """
        return [Score(*self._log_probability(self._known(row)), 0) for row in rows]

    def _log_probability(self, row: Sequence[int]) -> tuple[float, int]:
        """Return the log-probability of all ids but the first, and their number."""
        ids = np.array(row, np.int32)
        context = self.experiment.model.context_length
        total = 0.0
        for start in range(0, len(ids) - 1, context):
            window = ids[start : start + context + 1]
            padded = np.zeros((1, context + 1), np.int32)
            padded[0, : len(window)] = window
            log_p, _ = self.token_scores(padded)
            total += float(whole(log_p)[0, : len(window) - 1].astype(np.float64).sum())
        return total, max(0, len(ids) - 1)
