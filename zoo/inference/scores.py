"""The probabilities that a model gives to texts, without drawing any."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from models.positions import Positions
from models.transformer import Transformer
from zoo.training.loss import fewest_chunks


@dataclasses.dataclass(frozen=True)
class Score:
    """The probability that a model gives a text."""

    log_probability: float
    """Natural logarithm of the probability of the text's tokens, given the start of a document.

    If the vocabulary has no mark for the start, the first token is given instead and left out."""
    num_tokens: int
    """Tokens that the probability covers."""
    num_bytes: int
    """UTF-8 bytes of the text; 0 for token ids."""

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte that an ideal coder with this model would need; nan for no bytes."""
        if not self.num_bytes:
            return math.nan
        return -self.log_probability / math.log(2) / self.num_bytes


@functools.partial(jax.jit, static_argnames="graphdef")
def logits(graphdef: nnx.GraphDef, params: nnx.State, tokens: Int[Array, "B T"]):
    """Return the logits [B, T, V] of every next token of rows that are one document each."""
    model: Transformer = nnx.merge(graphdef, params)
    hidden, _ = model(tokens, Positions.whole_rows(*tokens.shape))
    return model.logits(hidden)


@functools.partial(jax.jit, static_argnames="graphdef")
def token_scores(graphdef: nnx.GraphDef, params: nnx.State, tokens: Int[Array, "B U"]):
    """Return the log-probability of each token but the first, and whether it is the likeliest."""
    model: Transformer = nnx.merge(graphdef, params)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    batch_size, length = inputs.shape
    hidden, _ = model(inputs, Positions.whole_rows(batch_size, length))
    head = model.head()

    def of_chunk(chunk):
        hidden, targets = chunk
        log_p = jax.nn.log_softmax(head(hidden))
        of_targets = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
        return of_targets, jnp.argmax(log_p, axis=-1) == targets

    def split(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(batch_size, num_chunks, -1, *x.shape[2:]), 1, 0)

    # The logits of all tokens at once may not fit into the memory.
    num_chunks = fewest_chunks(batch_size, length, model.config.vocab_size)
    scores = jax.lax.map(of_chunk, (split(hidden), split(targets)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(batch_size, length), scores)
