"""A trained model for a program: `zoo.load(path)` gives a LanguageModel."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from configs.experiment import Experiment
from data.vocabularies.vocabulary import Vocabulary
from models.cache import Places
from models.config import ConfigError
from models.transformer import Transformer
from zoo.checkpoints import checkpoint
from zoo.distribution.devices import quiet_libtpu
from zoo.inference.decode import Sampling, generate


@dataclasses.dataclass(frozen=True)
class Score:
    """How likely a model finds a text."""

    log_probability: float
    """Natural logarithm of the probability of all the text's tokens, given the start of a document;
    where the vocabulary has no mark for that, of all but the first, given that."""
    num_tokens: int
    num_bytes: int
    """UTF-8 bytes of the text."""

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte that an ideal coder with this model would spend; nan for ''."""
        if not self.num_bytes:
            return math.nan
        return -self.log_probability / math.log(2) / self.num_bytes


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model with its parameters and its vocabulary."""

    experiment: Experiment
    graphdef: nnx.GraphDef
    params: nnx.State
    vocabulary: Vocabulary

    def sample(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> list[str]:
        """Continue every prompt; the results do not repeat the prompts.

        Raises ConfigError if a prompt is longer than the model's context.
        """
        texts = [""] * len(prompts)
        stream = self.stream(prompts, max_tokens=max_tokens, sampling=sampling, seed=seed)
        for pieces in stream:
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        return texts

    def stream(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> Iterator[list[str]]:
        """Like `sample`, but yields what is new in every row as soon as it is made."""
        if not prompts:
            return
        # A space is the first character of the piece of the word that follows it. So a prompt's last
        # space is left to the model: its first token must begin with one, which is not shown again.
        # A vocabulary without such pieces puts spaces between words by itself.
        left_to_model = np.array([prompt.endswith(" ") for prompt in prompts])
        left_to_model &= self._begins_with_space.any()
        ids = [
            [*self.vocabulary.start, *self.vocabulary.encode(prompt.removesuffix(" "))]
            for prompt in prompts
        ]
        context = self.experiment.model.context_length
        for prompt, tokens in zip(prompts, ids, strict=True):
            if not tokens:
                raise ConfigError(
                    f"the prompt {prompt!r} has no tokens, and this model's vocabulary has no mark for "
                    "the start of a document; write a prompt"
                )
            if len(tokens) > context:
                raise ConfigError(
                    f"the prompt {prompt[:30]!r}... has {len(tokens)} tokens with its start mark "
                    f"and the model's context_length is {context}; shorten the prompt"
                )
        # The last token drawn is never fed back, so `context` inputs make one token more.
        room = context + 1 - max(len(tokens) for tokens in ids)
        if max_tokens < 1:
            raise ConfigError(f"max_tokens={max_tokens} must be above zero")
        # Neither marks that are not text, nor ids of the model that the vocabulary does not use.
        vocabulary = self.vocabulary
        is_text = np.arange(self.experiment.model.vocab_size) < vocabulary.size
        for mark in (vocabulary.pad_id, vocabulary.unk_id, vocabulary.bos_id):
            if mark is not None:
                is_text[mark] = mark == vocabulary.eos_id
        allowed = np.tile(is_text, (len(prompts), 1))
        decoders = [vocabulary.stream_decoder(tokens) for tokens in ids]
        running = [True] * len(prompts)
        for chunk in generate(
            self.graphdef,
            self.params,
            ids,
            max_tokens=min(max_tokens, room),
            sampling=sampling,
            seed=seed,
            end_id=vocabulary.eos_id,
            allowed=allowed,
            allowed_first=allowed & (self._begins_with_space | ~left_to_model[:, None]),
        ):
            pieces = [""] * len(prompts)
            for row, tokens in enumerate(chunk.tolist()):
                for token in tokens:
                    running[row] = running[row] and token != vocabulary.eos_id
                    if running[row]:
                        pieces[row] += decoders[row].feed(token)
                if left_to_model[row] and pieces[row]:
                    pieces[row] = pieces[row].removeprefix(" ")
                    left_to_model[row] = False
            yield pieces
        yield [decoder.flush() for decoder in decoders]

    @functools.cached_property
    def _begins_with_space(self) -> np.ndarray:
        """[V] bool."""
        begins = [self.vocabulary.begins_with_space(i) for i in range(self.vocabulary.size)]
        return np.pad(begins, (0, self.experiment.model.vocab_size - len(begins)))

    def logits(self, tokens: ArrayLike | Sequence[Sequence[int]]) -> Float[Array, "B T V"]:
        """Scores of every next token. Each row is one document; begin it with `vocabulary.start`."""
        return _logits(self.graphdef, self.params, jnp.asarray(tokens, jnp.int32))

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Log-probability of each text. One longer than the context is cut into windows of it."""
        return [self._score(text) for text in texts]

    def _score(self, text: str) -> Score:
        ids = np.array([*self.vocabulary.start, *self.vocabulary.encode(text)], np.int32)
        context = self.experiment.model.context_length
        total = 0.0
        for start in range(0, len(ids) - 1, context):
            window = ids[start : start + context + 1]
            inputs = np.zeros((1, context), np.int32)
            inputs[0, : len(window) - 1] = window[:-1]
            log_p = jax.nn.log_softmax(self.logits(inputs)[0, : len(window) - 1])
            total += float(jnp.sum(jnp.take_along_axis(log_p, window[1:, None], axis=1)))
        return Score(total, max(0, len(ids) - 1), len(text.encode()))


def load(path: str | Path) -> LanguageModel:
    """The model in `path`: the workdir of a run (its newest checkpoint) or one step's folder.

    Raises CheckpointError if there is none or it is damaged.
    """
    quiet_libtpu()
    folder = checkpoint.find(path)
    experiment = checkpoint.read_run(folder).experiment
    model = nnx.eval_shape(
        lambda: Transformer(experiment.model, experiment.execution, rngs=nnx.Rngs(0))
    )
    return LanguageModel(
        experiment=experiment,
        graphdef=nnx.graphdef(model),
        params=checkpoint.read_params(folder, experiment),
        vocabulary=checkpoint.read_vocabulary(folder),
    )


@functools.partial(jax.jit, static_argnames="graphdef")
def _logits(graphdef: nnx.GraphDef, params: nnx.State, tokens: Int[Array, "B T"]):
    model: Transformer = nnx.merge(graphdef, params)
    hidden, _ = model(tokens, Places.whole_rows(*tokens.shape))
    return model.logits(hidden)
