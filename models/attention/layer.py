"""Self-attention with any number of key and value heads, over a batch or over a cache."""

import math
from typing import assert_never

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models import config as c
from models.attention import dense
from models.attention.blocks import Dropout, Queries, weights
from models.attention.cache import Keys, Past
from models.attention.kernels import attend
from models.attention.past import attend_to_past
from models.attention.ring import KeyValues
from models.axes import constrain
from models.encoders.stacks import Sees
from models.execution import Kernel
from models.linear import Linear, vector
from models.positions import Positions, both_sides_mask, buckets, rotate, sinusoids


class Attention(nnx.Module):
    """softmax(Q K^T / sqrt(H)) V, with N query heads and K key and value heads.

    Vaswani et al. 2017, section 3.2. K = N is multi-head attention. With K = 1 all query heads
    share one key and one value head (multi-query, Shazeer 2019, arXiv 1911.02150). With K between 1
    and N, each group of G = N/K query heads shares one of each.

    With relative positions (Transformer-XL, Dai et al. 2019, arXiv 1901.02860, section 3.3) the
    score of query i and key j is ((q_i + u) . k_j + (q_i + v) . W_R r_(i-j)) / sqrt(H), where r is
    the sinusoids of the distance, u is `content_bias`, v is `distance_bias` and W_R is `distance`.
    With bucketed positions it is (q_i . k_j) / sqrt(H) plus a number from a table that all layers
    share.
    """

    def __init__(
        self, config: c.ModelConfig, kernel: Kernel, *, rngs: nnx.Rngs, sees: Sees = "past"
    ):
        a = config.attention
        self.kernel: Kernel = kernel
        self.sees: Sees = sees
        self.position = config.position
        self.dropout_rate = config.dropout_rate
        self.query = projection(config, a.num_heads, "heads", rngs=rngs)
        self.key = projection(config, a.num_kv_heads, "kv_heads", rngs=rngs)
        self.value = projection(config, a.num_kv_heads, "kv_heads", rngs=rngs)
        self.output = output_projection(config, rngs=rngs)
        relative = isinstance(config.position, c.Relative)
        shape, axes = (a.num_heads, a.head_dim), ("heads", "head_dim")
        self.distance = (
            projection(config, a.num_heads, "heads", use_bias=False, rngs=rngs)
            if relative
            else None
        )
        self.content_bias = vector(0.0, shape, axes) if relative else None
        self.distance_bias = vector(0.0, shape, axes) if relative else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Positions,
        past: Past | None,
        window: int | None,
        dropout_key: Key[Array, ""] | None,
        bucket_table: Float[Array, "buckets N"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Past | None]:
        """Attend within `x` or, with a past, to all of its tokens after adding those of `x`.

        With a window, a token sees only the last `window` tokens, itself included. `bucket_table`
        is that of the stack, if positions are bucketed.
        """
        query, key = self.queries_and_keys(x, positions)
        value = self.value(x)  # B T K H
        query = constrain(query, "batch", "length", "heads", None)
        key = constrain(key, "batch", "length", "kv_heads", None)
        value = constrain(value, "batch", "length", "kv_heads", None)
        drop = Dropout(self.dropout_rate, dropout_key)
        if self.sees == "both_sides":
            assert past is None, "only a decoder keeps its past"
            query = query / math.sqrt(query.shape[-1])
            mask, by_distance = both_sides_mask(positions, positions), None
            if bucket_table is not None:
                by_distance = self.scores_of_both_sides(bucket_table, x.shape[1])
            mixed = dense.attend(query, key, value, mask, by_distance, drop)
            return self.output(mixed), None
        queries = self.queries(query)
        if past is not None:
            past = past.write(key, value)
        if past is None or isinstance(past.start, int):  # then nothing came before x
            keys = KeyValues(key, value, self.distance_keys(x.shape[1], x.dtype, bucket_table))
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
        if self.sees == "both_sides":
            query = query / math.sqrt(query.shape[-1])
            return dense.attention_weights(query, key, both_sides_mask(positions, positions), None)
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
            case c.Relative() | c.Bucketed():
                pass  # added to the scores
            case c.Learned() | c.Sinusoidal():
                pass  # added to the embedding
            case _:
                assert_never(self.position)
        return query, key

    def distance_keys(
        self, num_distances: int, dtype, bucket_table: Float[Array, "buckets N"] | None = None
    ) -> Float[Array, "M N E"] | None:
        """Return the part of the keys that depends on the distances m < `num_distances` alone.

        That is W_R r_m for relative positions; for bucketed ones it is the number from the table,
        as a vector of width 1; for others there is none.
        """
        distances = jnp.arange(num_distances)
        match self.position:
            case c.Relative():
                assert self.distance is not None
                return self.distance(sinusoids(distances, *self.distance.in_shape).astype(dtype))
            case c.Bucketed() as choice:
                assert bucket_table is not None
                bucket = buckets(distances, choice, both_sides=False)
                return bucket_table[bucket][..., None].astype(dtype)
            case c.Learned() | c.Rotary() | c.Sinusoidal():
                return None
            case _:
                assert_never(self.position)

    def scores_of_both_sides(
        self, bucket_table: Float[Array, "buckets N"], length: int
    ) -> Float[Array, "N T T"]:
        """Return the part of the scores that depends on the distance alone."""
        assert isinstance(self.position, c.Bucketed)
        column = jnp.arange(length)
        distance = column[:, None] - column
        return bucket_table[buckets(distance, self.position, both_sides=True)].transpose(2, 0, 1)

    def queries(self, query: Float[Array, "B T N H"]) -> Queries:
        """Return the queries, with the trained vectors of relative positions added, and scaled."""

        def scaled(bias: nnx.Param | None) -> Array:
            biased = query if bias is None else query + bias[...].astype(query.dtype)
            # The queries are scaled, not the scores, of which there are S / H times as many.
            return biased / math.sqrt(query.shape[-1])

        match self.position:
            case c.Relative():
                return Queries(scaled(self.content_bias), scaled(self.distance_bias))
            case c.Bucketed():
                # A product with 1 adds the number of the bucket to the score.
                return Queries(scaled(None), jnp.ones((*query.shape[:-1], 1), query.dtype))
            case c.Learned() | c.Rotary() | c.Sinusoidal():
                return Queries(scaled(None), None)
            case _:
                assert_never(self.position)


def projection(
    config: c.ModelConfig,
    num_heads: int,
    axis: str,
    *,
    use_bias: bool | None = None,
    rngs: nnx.Rngs,
) -> Linear:
    """Return the matrix that makes the vectors of `num_heads` heads; None: a bias as the config."""
    shape, axes = (num_heads, config.attention.head_dim), ("embed", axis, "head_dim")
    use_bias = "qkv" in config.biases if use_bias is None else use_bias
    return Linear(config, (config.d_model,), shape, axes, use_bias=use_bias, rngs=rngs)


def output_projection(config: c.ModelConfig, *, rngs: nnx.Rngs) -> Linear:
    """Return the matrix that joins the heads and writes to the residual stream."""
    return Linear(
        config,
        (config.attention.num_heads, config.attention.head_dim),
        (config.d_model,),
        ("heads", "head_dim", "embed"),
        role="residual",
        use_bias="attention_output" in config.biases,
        rngs=rngs,
    )
