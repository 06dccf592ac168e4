"""Attention of a decoder to what an encoder has read."""

import math
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.attention import dense
from models.attention.blocks import Dropout
from models.attention.layer import output_projection, projection
from models.axes import constrain
from models.config import ModelConfig


class Source(NamedTuple):
    """The encoder's output as one layer of the decoder reads it: computed once for a text."""

    key: Float[Array, "B S K H"]
    value: Float[Array, "B S K H"]
    is_text: Bool[Array, "B S"]
    """False on padding."""


class CrossAttention(nnx.Module):
    """softmax(Q K^T / sqrt(H)) V: queries of the decoder, keys and values of the encoder's output.

    Vaswani et al. 2017, section 3.2.3. Positions play no part.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        a = config.attention
        self.dropout_rate = config.dropout_rate
        self.query = projection(config, a.num_heads, "heads", rngs=rngs)
        self.key = projection(config, a.num_kv_heads, "kv_heads", rngs=rngs)
        self.value = projection(config, a.num_kv_heads, "kv_heads", rngs=rngs)
        self.output = output_projection(config, rngs=rngs)

    def read(self, encoded: Float[Array, "B S D"], is_text: Bool[Array, "B S"]) -> Source:
        """Return the keys and values of what the encoder has read."""
        key = constrain(self.key(encoded), "batch", "length", "kv_heads", None)
        value = constrain(self.value(encoded), "batch", "length", "kv_heads", None)
        return Source(key, value, is_text)

    def __call__(
        self, x: Float[Array, "B T D"], source: Source, dropout_key: Key[Array, ""] | None
    ) -> Float[Array, "B T D"]:
        """Mix the values of the source for every token of `x`."""
        query = constrain(self.query(x), "batch", "length", "heads", None)
        query = query / math.sqrt(query.shape[-1])
        mask = source.is_text[:, None, :].repeat(x.shape[1], axis=1)
        drop = Dropout(self.dropout_rate, dropout_key)
        return self.output(dense.attend(query, source.key, source.value, mask, None, drop))
