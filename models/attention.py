"""Causal attention with any number of key and value heads, over a batch or over a cache."""

import dataclasses
import math
from typing import assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from models import config as c
from models.axes import constrain
from models.dropout import dropout
from models.linear import Linear
from models.positions import rotate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Places:
    """Where every token of a batch stands; the attention mask follows from it."""

    positions: Int[Array, "B T"]
    """Index within the token's document, from 0."""
    segment_ids: Int[Array, "B T"]
    """Which document of the row the token belongs to, from 1; 0 is padding."""

    @classmethod
    def whole_rows(cls, batch_size: int, seq_len: int) -> "Places":
        """Every row is one document, without padding."""
        positions = jnp.broadcast_to(jnp.arange(seq_len), (batch_size, seq_len))
        return cls(positions, jnp.ones_like(positions))


def attends(query: Places, key: Places) -> Bool[Array, "B T S"]:
    """A token sees the tokens of its own document that do not come after it."""
    same_document = query.segment_ids[:, :, None] == key.segment_ids[:, None, :]
    not_later = query.positions[:, :, None] >= key.positions[:, None, :]
    return same_document & not_later


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens seen so far, in buffers of a fixed length S."""

    keys: Float[Array, "L B S K H"]
    values: Float[Array, "L B S K H"]
    places: Places
    """Of the S cells. An empty cell has segment 0, which no token attends to."""
    length: Int[Array, ""]
    """Number of cells written; the next token goes into cell `length`."""

    @classmethod
    def empty(
        cls, config: c.ModelConfig, batch_size: int, length: int, dtype: DTypeLike
    ) -> "KVCache":
        heads = (config.attention.num_kv_heads, config.attention.head_dim)
        zeros = jnp.zeros((config.num_layers, batch_size, length, *heads), dtype)
        cells = jnp.zeros((batch_size, length), jnp.int32)
        return cls(zeros, zeros, Places(cells, cells), jnp.zeros((), jnp.int32))

    def append_places(self, places: Places) -> "KVCache":
        """The cache with T more cells taken; each layer then fills them with `append`."""

        def write(cells: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(cells, new, self.length, axis=1)

        taken = jax.tree.map(write, self.places, places)
        return dataclasses.replace(
            self, places=taken, length=self.length + places.positions.shape[1]
        )

    def append(self, layer: Int[Array, ""], key: Array, value: Array) -> "KVCache":
        """Write one layer's T newest keys and values, in place once jit has donated the buffers."""
        start = (layer, 0, self.length - key.shape[1], 0, 0)

        def write(cells: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice(cells, new[None].astype(cells.dtype), start)

        return dataclasses.replace(
            self, keys=write(self.keys, key), values=write(self.values, value)
        )


class Attention(nnx.Module):
    """softmax(Q K^T / sqrt(H)) V (Vaswani et al. 2017, section 3.2), N query and K key-value heads.

    K = N is multi-head attention; with K = 1 all query heads share one key and one value head
    (multi-query, Shazeer 2019, arXiv 1911.02150); between them, groups of G = N/K query heads do.
    """

    def __init__(self, config: c.ModelConfig, *, rngs: nnx.Rngs):
        d, a = config.d_model, config.attention
        self.position = config.position
        self.dropout_rate = config.dropout_rate

        def project(num_heads: int, axis: str) -> Linear:
            return Linear(
                config,
                (d,),
                (num_heads, a.head_dim),
                ("embed", axis, "head_dim"),
                use_bias="qkv" in config.biases,
                rngs=rngs,
            )

        self.query = project(a.num_heads, "heads")
        self.key = project(a.num_kv_heads, "kv_heads")
        self.value = project(a.num_kv_heads, "kv_heads")
        self.output = Linear(
            config,
            (a.num_heads, a.head_dim),
            (d,),
            ("heads", "head_dim", "embed"),
            role="residual",
            use_bias="attention_output" in config.biases,
            rngs=rngs,
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        places: Places,
        *,
        layer: Int[Array, ""],
        cache: KVCache | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Attend within `x`, or with a cache to all that it holds, `x` included."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        match self.position:
            case c.Rotary() as rotary:
                query = rotate(query, places.positions, rotary)
                key = rotate(key, places.positions, rotary)
            case c.Learned():
                pass  # added to the embedding
            case _:
                assert_never(self.position)
        query = constrain(query, "batch", "length", "heads", None)
        key = constrain(key, "batch", None, "kv_heads", None)
        value = constrain(value, "batch", None, "kv_heads", None)
        key_places = places
        if cache is not None:
            cache = cache.append(layer, key, value)
            key, value, key_places = cache.keys[layer], cache.values[layer], cache.places
        attended = self.attend(query, key, value, attends(places, key_places), dropout_key)
        return self.output(attended), cache

    def attend(
        self,
        query: Float[Array, "B T N H"],
        key: Float[Array, "B S K H"],
        value: Float[Array, "B S K H"],
        mask: Bool[Array, "B T S"],
        dropout_key: Key[Array, ""] | None,
    ) -> Float[Array, "B T N H"]:
        """Scores and softmax in float32; masked scores take no part, and every query sees itself."""
        b, t, n, h = query.shape
        k = key.shape[2]
        g = n // k
        # The G query heads of a group and their T positions are the rows of one matrix product.
        rows = query.reshape(b, t, k, g, h).transpose(0, 2, 3, 1, 4).reshape(b, k, g * t, h)
        key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
        scores = jnp.einsum("bkmh,bksh->bkms", rows, key, preferred_element_type=jnp.float32)
        mask = jnp.tile(mask, (1, g, 1))[:, None]
        scores = jnp.where(mask, scores / math.sqrt(h), jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
        weights = dropout(weights, self.dropout_rate, dropout_key)
        attended = jnp.einsum("bkms,bksh->bkmh", weights, value).reshape(b, k, g, t, h)
        return attended.transpose(0, 3, 1, 2, 4).reshape(b, t, n, h)
