"""Causal attention with any number of key and value heads, over a batch or over a cache."""

import math
from typing import assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, Key

from models import config as c
from models.axes import constrain, mesh_axis
from models.cache import KVCache, Places, attends
from models.dropout import dropout
from models.linear import Linear, vector
from models.positions import distance_scores, rotate, sinusoids

SMALLEST_BLOCK = 128
LARGEST_BLOCK = 512
"""Queries that are scored at a time, each block against the keys that it can see: a quarter of the
sequence between these bounds, which leaves out 3/8 of dense attention, and in a layer with a window no
more than the window, so that it costs its band. Measured on a CPU, forward and backward: 1.8x faster
than one block at 2,048 tokens; at 256 tokens, two blocks take 5 % off GPT-2 124M's whole step."""


class Attention(nnx.Module):
    """softmax(Q K^T / sqrt(H)) V (Vaswani et al. 2017, section 3.2), N query and K key-value heads.

    K = N is multi-head attention; with K = 1 all query heads share one key and one value head
    (multi-query, Shazeer 2019, arXiv 1911.02150); between them, groups of G = N/K query heads do.

    With relative positions (Transformer-XL, Dai et al. 2019, arXiv 1901.02860, section 3.3) the score
    of query i and key j is ((q_i + u) . k_j + (q_i + v) . W_R r_(i-j)) / sqrt(H), r the sinusoids of
    the distance; u is `content_bias`, v `distance_bias` and W_R `distance`.
    """

    def __init__(self, config: c.ModelConfig, *, rngs: nnx.Rngs):
        d, a = config.d_model, config.attention
        self.position = config.position
        self.dropout_rate = config.dropout_rate

        def project(num_heads: int, axis: str, *, use_bias: bool) -> Linear:
            shape, axes = (num_heads, a.head_dim), ("embed", axis, "head_dim")
            return Linear(config, (d,), shape, axes, use_bias=use_bias, rngs=rngs)

        qkv_bias = "qkv" in config.biases
        self.query = project(a.num_heads, "heads", use_bias=qkv_bias)
        self.key = project(a.num_kv_heads, "kv_heads", use_bias=qkv_bias)
        self.value = project(a.num_kv_heads, "kv_heads", use_bias=qkv_bias)
        self.output = Linear(
            config,
            (a.num_heads, a.head_dim),
            (d,),
            ("heads", "head_dim", "embed"),
            role="residual",
            use_bias="attention_output" in config.biases,
            rngs=rngs,
        )
        relative = isinstance(config.position, c.Relative)
        shape, axes = (a.num_heads, a.head_dim), ("heads", "head_dim")
        self.distance = project(a.num_heads, "heads", use_bias=False) if relative else None
        self.content_bias = vector(0.0, shape, axes) if relative else None
        self.distance_bias = vector(0.0, shape, axes) if relative else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        places: Places,
        *,
        window: int | None,
        layer: Int[Array, ""],
        cache: KVCache | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Attend within `x`, or with a cache to all that it holds, `x` included; with a window, to
        the last `window` tokens."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        distance_keys = None
        match self.position:
            case c.Rotary() as rotary:
                query = rotate(query, places.positions, rotary)
                key = rotate(key, places.positions, rotary)
            case c.Relative():
                # What x's own length needs; a cache brings those of its length.
                distance_keys = self.distance_keys(x.shape[1], x.dtype) if cache is None else None
            case c.Learned():
                pass  # added to the embedding
            case _:
                assert_never(self.position)
        query = constrain(query, "batch", "length", "heads", None)
        key = constrain(key, "batch", None, "kv_heads", None)
        value = constrain(value, "batch", None, "kv_heads", None)
        split_axis = mesh_axis("length")
        if cache is not None:
            cache = cache.append(layer, key, value)
            key, value = (cells[layer].swapaxes(0, 1) for cells in (cache.keys, cache.values))
            if cache.distance_keys is not None:
                distance_keys = cache.distance_keys[layer]
            first = cache.length - x.shape[1]
            attended = self.attend(
                query, key, value, places, cache.places, distance_keys, first, window, dropout_key
            )
        elif split_axis is None:
            attended = self.attend(
                query, key, value, places, places, distance_keys, 0, window, dropout_key
            )
        else:
            attended = self._attend_on_each(
                split_axis, query, key, value, places, distance_keys, window, dropout_key
            )
        return self.output(attended), cache

    def _attend_on_each(
        self, axis: str, query, key, value, places, distance_keys, window, dropout_key
    ) -> Float[Array, "B T N H"]:
        """`attend` where the length is split over a mesh axis: each device has the queries of its
        part of the sequence, and all keys and values."""

        def attend(module, query, query_places, key, value, places, distance_keys, dropout_key):
            part = jax.lax.axis_index(axis)
            if dropout_key is not None:
                dropout_key = jax.random.fold_in(dropout_key, part)
            first = part * query.shape[1]
            return module.attend(
                query, key, value, query_places, places, distance_keys, first, window, dropout_key
            )

        own, all_of_it = PartitionSpec(None, axis), PartitionSpec()
        return jax.shard_map(
            attend,
            in_specs=(all_of_it, own, own, *[all_of_it] * 5),
            out_specs=own,
            axis_names={axis},
            check_vma=False,
        )(self, query, places, key, value, places, distance_keys, dropout_key)

    def attend(
        self,
        query: Float[Array, "B T N H"],
        key: Float[Array, "B S K H"],
        value: Float[Array, "B S K H"],
        query_places: Places,
        key_places: Places,
        distance_keys: Float[Array, "M N H"] | None,
        first: int | Int[Array, ""],
        window: int | None,
        dropout_key: Key[Array, ""] | None,
    ) -> Float[Array, "B T N H"]:
        """Block by block of queries, each with the keys that it can see. Query t stands at key
        `first + t`."""
        num_queries, num_keys = query.shape[1], key.shape[1]
        visible = num_keys if window is None else min(4 * window, num_keys)
        num_smallest = max(1, visible // 4 // SMALLEST_BLOCK)
        size = min(num_smallest * SMALLEST_BLOCK, LARGEST_BLOCK)
        blocks = []
        for start in range(0, num_queries, size):
            stop = min(start + size, num_queries)
            begin, num_visible = _visible(first, start, stop, num_keys, window)
            some_query, some_places = _cut((query, query_places), start, stop - start)
            some_key, some_value, places = _cut((key, value, key_places), begin, num_visible)
            scores = self.scores(some_query, some_key, distance_keys, first + start - begin)
            mask = attends(some_places, places, window)[:, None]
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
            block_key = None if dropout_key is None else jax.random.fold_in(dropout_key, start)
            blocks.append(self.mix(scores, some_value, block_key))
        return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)

    def distance_keys(self, length: int, dtype) -> Float[Array, "length N H"] | None:
        """W_R r_m for the distances m = 0 to `length` - 1."""
        if self.distance is None:
            return None
        return self.distance(sinusoids(length, self.distance.kernel.shape[0]).astype(dtype))

    def scores(
        self,
        query: Float[Array, "B T N H"],
        key: Float[Array, "B S K H"],
        distance_keys: Float[Array, "M N H"] | None,
        first: int | Int[Array, ""],
    ) -> Float[Array, "B N T S"]:
        """Scaled scores in float32, not yet masked. Query t stands at key `first + t`."""
        b, t, n, h = query.shape
        k, s = key.shape[2], key.shape[1]
        g = n // k

        def scaled(bias: nnx.Param | None) -> Array:
            biased = query if bias is None else query + bias[...].astype(query.dtype)
            # Here and not on the scores, of which there are S / H times as many.
            return biased / math.sqrt(h)

        # The G query heads of a group and their T positions are the rows of one matrix product.
        rows = scaled(self.content_bias).reshape(b, t, k, g, h).transpose(0, 2, 3, 1, 4)
        scores = jnp.einsum(
            "bkmh,bksh->bkms",
            rows.reshape(b, k, g * t, h),
            key.transpose(0, 2, 1, 3),
            preferred_element_type=jnp.float32,
        ).reshape(b, n, t, s)
        if distance_keys is not None:
            scores += distance_scores(scaled(self.distance_bias), distance_keys, first, s)
        return scores

    def mix(
        self,
        scores: Float[Array, "B N T S"],
        value: Float[Array, "B S K H"],
        dropout_key: Key[Array, ""] | None,
    ) -> Float[Array, "B T N H"]:
        """The values, weighted by the softmax of the masked scores; every query sees itself."""
        b, n, t, s = scores.shape
        k, h = value.shape[2:]
        weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
        weights = dropout(weights, self.dropout_rate, dropout_key).reshape(b, k, n // k * t, s)
        mixed = jnp.einsum("bkms,bksh->bkmh", weights, value.transpose(0, 2, 1, 3))
        return mixed.reshape(b, n, t, h).transpose(0, 2, 1, 3)


def _visible(
    first: int | Int[Array, ""], start: int, stop: int, num_keys: int, window: int | None
) -> tuple[int | Int[Array, ""], int]:
    """Begin and length of the keys that the queries `start` to `stop` - 1 can see, where query 0
    stands at key `first`: exact where `first` is known while tracing, else a span that is sure to
    hold them."""
    reach = 0 if window is None else window - 1
    if isinstance(first, int):
        begin = 0 if window is None else max(0, first + start - reach)
        return begin, first + stop - begin
    if window is None:
        return 0, num_keys
    length = min(num_keys, stop - start + reach)
    return jnp.clip(first + start - reach, 0, num_keys - length), length


def _cut(tree, start: int | Int[Array, ""], length: int):
    """The cells from `start` of every array [B, cells, ...]."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, length, axis=1), tree)
