"""The one transformer that all families share.

A block in each of the three layouts (A attention, F feed-forward, N norm):

    post_norm              pre_norm                 parallel
    x ---+                 x ---+                   x ---+
    |    A                 |    N                   |    N --+
    + <--+                 |    A                   |    A   F
    N                      + <--+                   + <--+   |
    |---+                  |----+                   + <------+
    |   F                  |    N                   |
    + <-+                  |    F                   y = x + A(N(x)) + F(N(x))
    N                      + <--+
    |                      |
    GPT-1                  GPT-2, LLaMA, ...        PaLM

The parameters of all layers are stacked along a leading axis `layers` and the forward pass scans
over it, so that compile time does not grow with depth.
"""

import dataclasses
import functools
import operator
from typing import assert_never, no_type_check

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.attention import Attention
from models.axes import constrain, mesh_axis
from models.cache import KVCache, Places
from models.config import Execution, Layout, Learned, ModelConfig
from models.dropout import dropout, split
from models.feed_forward import FeedForward
from models.linear import matmul_transposed, matrix, vector
from models.norms import Norm
from models.stages import pipelined


class Block(nnx.Module):
    """One layer: attention and feed-forward, arranged as the config's layout says."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.layout: Layout = config.layout
        self.dropout_rate = config.dropout_rate
        self.attention_norm = Norm(config)
        self.attention = Attention(config, rngs=rngs)
        self.feed_forward_norm = None if config.layout == "parallel" else Norm(config)
        self.feed_forward = FeedForward(config, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        places: Places,
        cache: KVCache | None,
        *,
        window: int | None,
        layer: Int[Array, ""],
        dropout_key: Key[Array, ""] | None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        key_weights, key_a, key_f = split(dropout_key, 3)
        norm_a, norm_f = self.attention_norm, self.feed_forward_norm
        attention = functools.partial(
            self.attention,
            places=places,
            window=window,
            layer=layer,
            cache=cache,
            dropout_key=key_weights,
        )

        def whole(x: Array) -> Array:
            return constrain(x, "batch", "length", None)

        def pieces(x: Array) -> Array:
            return constrain(x, "batch", "length", "residual")

        def drop_a(a: Array) -> Array:
            return dropout(a, self.dropout_rate, key_a)

        def drop_f(f: Array) -> Array:
            return dropout(f, self.dropout_rate, key_f)

        match self.layout:
            case "parallel":
                normed = whole(norm_a(x))
                a, cache = attention(normed)
                x = pieces(x + drop_a(a) + drop_f(self.feed_forward(normed)))
            case "pre_norm":
                assert norm_f is not None
                a, cache = attention(whole(norm_a(x)))
                x = pieces(x + drop_a(a))
                x = pieces(x + drop_f(self.feed_forward(whole(norm_f(x)))))
            case "post_norm":
                assert norm_f is not None
                a, cache = attention(whole(x))
                x = norm_a(pieces(x + drop_a(a)))
                x = norm_f(pieces(x + drop_f(self.feed_forward(whole(x)))))
            case _:
                assert_never(self.layout)
        return x, cache


@no_type_check  # at run time: jax.custom_vjp fills the tree with placeholders to learn its structure
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Head:
    """Hidden states to logits, as a tree of its own arrays only, so that a loss can take its gradient
    without touching the other parameters."""

    table: Float[Array, "V D"]
    bias: Float[Array, " V"] | None
    scale: float = dataclasses.field(metadata={"static": True})

    def __call__(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Scores of the next token, in float32."""
        logits = matmul_transposed(hidden, self.table, ("vocab", "embed")) * self.scale
        return logits if self.bias is None else logits + self.bias


class Transformer(nnx.Module):
    """Tokens to hidden states (`__call__`) and hidden states to logits (`head`)."""

    def __init__(self, config: ModelConfig, execution: Execution = Execution(), *, rngs: nnx.Rngs):
        self.config = config
        self.execution = execution.resolve(accelerated=jax.default_backend() != "cpu")
        v, d = config.vocab_size, config.d_model
        self.embedding = matrix(
            config, (v, d), ("vocab", "embed"), role="embedding", fan_in=d, rngs=rngs
        )
        self.position_embedding = (
            matrix(
                config,
                (config.context_length, d),
                ("position", "embed"),
                role="position",
                fan_in=d,
                rngs=rngs,
            )
            if isinstance(config.position, Learned)
            else None
        )

        @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(config, rngs=rngs)

        self.layers = stack(rngs.split(config.num_layers))
        self.final_norm = None if config.layout == "post_norm" else Norm(config)
        self.unembedding = (
            None
            if config.tie_embeddings
            else matrix(config, (v, d), ("vocab", "embed"), role="kernel", fan_in=d, rngs=rngs)
        )
        self.logit_bias = vector(0.0, (v,), ("vocab",)) if "logits" in config.biases else None

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        places: Places,
        *,
        cache: KVCache | None = None,
        dropout_key: Key[Array, ""] | None = None,
        micro_batches: int = 1,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Hidden states after the last layer and its norm; with a cache, the cache grown by T.

        `micro_batches`: pieces of the batch that follow each other through the stages, where the
        layers are split over a mesh axis.
        """
        dtype = jnp.dtype(self.execution.dtype)
        embedding_key, layers_key = split(dropout_key, 2)
        # mode="clip": an out-of-range id is the caller's error, checked where text becomes ids;
        # the default would fill its row with NaN and spend a select on every lookup.
        table = constrain(self.embedding[...], "vocab", "embed")
        table = constrain(table, "vocab", None)  # all-gathered along fsdp, then looked up
        x = jnp.take(table, tokens, axis=0, mode="clip")
        if self.position_embedding is not None:
            x = x + jnp.take(self.position_embedding[...], places.positions, axis=0, mode="clip")
        x = dropout(x.astype(dtype), self.config.dropout_rate, embedding_key)
        x = constrain(x, "batch", "length", "residual")
        if cache is not None:
            cache = cache.append_places(places)

        num_layers, period = self.config.num_layers, len(self.config.attention.windows)
        keys = None if layers_key is None else jax.random.split(layers_key, num_layers)
        layers = jax.tree.map(
            lambda leaf: leaf.reshape(-1, period, *leaf.shape[1:]),
            (self.layers, jnp.arange(num_layers), keys),
        )
        axis = mesh_axis("layers")
        if axis is None:
            x, cache = self._apply(layers, x, places, cache)
        else:
            assert cache is None, "decoding does not run through a pipeline"

            def stage(layers, x: Array, places: Places, number: Array) -> Array:
                blocks, indices, keys = layers
                if keys is not None:
                    keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(keys)
                x = constrain(x, "batch", "length", "residual")
                return self._apply((blocks, indices, keys), x, places, None)[0]

            x = pipelined(stage, layers, x, places, axis=axis, num_micro_batches=micro_batches)
        x = x if self.final_norm is None else self.final_norm(x)
        return constrain(x, "batch", "length", "residual"), cache

    def _apply(self, layers, x: Array, places: Places, cache: KVCache | None):
        """Scan over layers. One iteration applies as many as there are windows, so that each has its
        own, known while tracing."""
        windows = self.config.attention.windows

        def apply_period(carry, period):
            for i, window in enumerate(windows):
                block, layer, key = jax.tree.map(operator.itemgetter(i), period)
                apply = functools.partial(block, window=window, layer=layer, dropout_key=key)
                x, cache = carry
                carry = self._rematerialised(apply)(x, places, cache)
            return carry, None

        unroll = max(1, min(self.execution.unroll, self.config.num_layers) // len(windows))
        carry, _ = jax.lax.scan(apply_period, (x, cache), layers, unroll=unroll)
        return carry

    def head(self) -> Head:
        """The output layer: the tied embedding or a matrix of its own, as the config says."""
        table = (self.embedding if self.unembedding is None else self.unembedding)[...]
        table = constrain(constrain(table, "vocab", "embed"), "vocab", None)
        bias = None if self.logit_bias is None else self.logit_bias[...]
        match self.config.logit_scale:
            case "one":
                return Head(table, bias, 1.0)
            case "inverse_sqrt_d_model":
                return Head(table, bias, self.config.d_model**-0.5)
            case _:
                assert_never(self.config.logit_scale)

    def logits(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Scores of the next token after each hidden state, in float32."""
        return self.head()(hidden)

    def empty_cache(self, batch_size: int, length: int) -> KVCache:
        """Buffers for `length` tokens a row, in the precision of the run."""
        config, dtype = self.config, jnp.dtype(self.execution.dtype)
        heads = (config.attention.num_kv_heads, config.attention.head_dim)
        zeros = jnp.zeros((config.num_layers, length, batch_size, *heads), dtype)
        cells = jnp.zeros((batch_size, length), jnp.int32)
        distance_keys = jax.lax.map(
            lambda block: block.attention.distance_keys(length, dtype), self.layers
        )
        return KVCache(zeros, zeros, Places(cells, cells), jnp.zeros((), jnp.int32), distance_keys)

    def _rematerialised(self, apply_layer):
        match self.execution.remat:
            case "none":
                return apply_layer
            case "dots":
                policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
                return jax.checkpoint(apply_layer, policy=policy)
            case "full":
                return jax.checkpoint(apply_layer)
            case _:
                assert_never(self.execution.remat)


def abstract_params(config: ModelConfig) -> nnx.State:
    """Shapes, dtypes and logical axes of every parameter, without allocating any."""
    model = nnx.eval_shape(lambda: Transformer(config, rngs=nnx.Rngs(0)))
    return nnx.state(model, nnx.Param)


@functools.cache
def num_params(config: ModelConfig) -> int:
    """The exact number of parameters, by abstract evaluation: no memory, whatever the size."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
