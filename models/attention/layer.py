"""Causal attention with any number of key and value heads, over a batch or over a cache."""

import math
from typing import assert_never

from flax import nnx
from jaxtyping import Array, Float, Key

from models import config as c
from models.attention.blocks import Dropout, Queries, weights
from models.attention.kernels import attend
from models.attention.past import attend_to_past
from models.attention.ring import KeyValues
from models.axes import constrain
from models.cache import Keys, Past
from models.linear import Linear, vector
from models.positions import Positions, rotate, sinusoids


class Attention(nnx.Module):
    """softmax(Q K^T / sqrt(H)) V, with N query heads and K key and value heads.

    Vaswani et al. 2017, section 3.2. K = N is multi-head attention. With K = 1 all query heads
    share one key and one value head (multi-query, Shazeer 2019, arXiv 1911.02150). With K between 1
    and N, each group of G = N/K query heads shares one of each.

    With relative positions (Transformer-XL, Dai et al. 2019, arXiv 1901.02860, section 3.3) the
    score of query i and key j is ((q_i + u) . k_j + (q_i + v) . W_R r_(i-j)) / sqrt(H), where r is
    the sinusoids of the distance, u is `content_bias`, v is `distance_bias` and W_R is `distance`.
    """

    def __init__(self, config: c.ModelConfig, kernel: c.Kernel, *, rngs: nnx.Rngs):
        d, a = config.d_model, config.attention
        self.kernel: c.Kernel = kernel
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
        positions: Positions,
        past: Past | None,
        window: int | None,
        dropout_key: Key[Array, ""] | None,
    ) -> tuple[Float[Array, "B T D"], Past | None]:
        """Attend within `x` or, with a past, to all of its tokens after adding those of `x`.

        With a window, a token sees only the last `window` tokens, itself included.
        """
        query, key = self.queries_and_keys(x, positions)
        value = self.value(x)  # B T K H
        query = constrain(query, "batch", "length", "heads", None)
        key = constrain(key, "batch", "length", "kv_heads", None)
        value = constrain(value, "batch", "length", "kv_heads", None)
        queries = self.queries(query)
        if past is not None:
            past = past.write(key, value)
        if past is None or isinstance(past.start, int):  # then nothing came before x
            keys = KeyValues(key, value, self.distance_keys(x.shape[1], x.dtype))
            drop = Dropout(self.dropout_rate, dropout_key)
            # Prompts are padded on the left, and of any length: not every kernel serves that.
            kernel = self.kernel if past is None else "xla"
            mixed = attend(queries, positions, keys, drop, window, kernel)
        else:
            mixed = attend_to_past(queries, positions, past, window)
        return self.output(mixed), past

    def weights(
        self, x: Float[Array, "B T D"], positions: Positions, window: int | None
    ) -> Float[Array, "B N T T"]:
        """Return the weight that each query gives to each key: for showing them, on one device."""
        query, key = self.queries_and_keys(x, positions)
        distance_keys = self.distance_keys(x.shape[1], x.dtype)
        keys = Keys(key, key, positions, distance_keys, query_offset=0)
        return weights(self.queries(query), positions, keys, window)

    def queries_and_keys(
        self, x: Float[Array, "B T D"], positions: Positions
    ) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"]]:
        """Return the projections of `x`, rotated if the model's positions are rotary."""
        query, key = self.query(x), self.key(x)
        match self.position:
            case c.Rotary() as rotary:
                query = rotate(query, positions.index, rotary)
                key = rotate(key, positions.index, rotary)
            case c.Relative():
                pass  # added to the scores
            case c.Learned():
                pass  # added to the embedding
            case _:
                assert_never(self.position)
        return query, key

    def distance_keys(self, num_distances: int, dtype) -> Float[Array, "M N H"] | None:
        """Return W_R r_m for the distances m < `num_distances`; None without relative positions."""
        if self.distance is None:
            return None
        return self.distance(sinusoids(num_distances, *self.distance.in_shape).astype(dtype))

    def queries(self, query: Float[Array, "B T N H"]) -> Queries:
        """Return the queries, with the trained vectors of relative positions added, and scaled."""

        def scaled(bias: nnx.Param | None) -> Array:
            biased = query if bias is None else query + bias[...].astype(query.dtype)
            # The queries are scaled, not the scores, of which there are S / H times as many.
            return biased / math.sqrt(query.shape[-1])

        distance = None if self.distance is None else scaled(self.distance_bias)
        return Queries(scaled(self.content_bias), distance)
