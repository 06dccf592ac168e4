"""The one transformer that all families share.

A block in each of the three layouts, where A is attention, F feed-forward and N a norm:

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

The parameters of all layers are stacked along a leading axis `layers`, and the forward pass scans
over that axis, so compile time does not grow with depth.
"""

import functools
import operator
from typing import assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.attention.layer import Attention
from models.axes import constrain, mesh_axis
from models.cache import KVCache
from models.config import Execution, Kernel, Layout, Learned, ModelConfig
from models.dropout import dropout, split_key
from models.feed_forward import FeedForward
from models.head import Head
from models.linear import matrix, vector
from models.norms import Norm
from models.positions import Positions
from models.stages import run_stages

FLOAT32 = Execution(dtype="float32")
"""The default execution, for callers that need only the parameters."""


class Block(nnx.Module):
    """One layer: attention and feed-forward, in the order of the config's layout."""

    def __init__(self, config: ModelConfig, kernel: Kernel, *, rngs: nnx.Rngs):
        self.layout: Layout = config.layout
        self.dropout_rate = config.dropout_rate
        self.attention_norm = Norm(config)
        self.attention = Attention(config, kernel, rngs=rngs)
        # In the parallel layout, both halves share one norm.
        if config.layout != "parallel":
            self.feed_forward_norm = Norm(config)
        self.feed_forward = FeedForward(config, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Positions,
        cache: KVCache | None,
        layer: Int[Array, ""],
        window: int | None,
        dropout_key: Key[Array, ""] | None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        key_weights, key_a, key_f = split_key(dropout_key, 3)
        # Everything that attention needs other than its input.
        context = (positions, cache, layer, window, key_weights)
        match self.layout:
            case "post_norm":
                a, cache = self.attention(whole(x), *context)
                x = self.attention_norm(self.add(x, a, key_a))
                x = self.feed_forward_norm(self.add(x, self.feed_forward(whole(x)), key_f))
            case "pre_norm":
                a, cache = self.attention(whole(self.attention_norm(x)), *context)
                x = self.add(x, a, key_a)
                x = self.add(x, self.feed_forward(whole(self.feed_forward_norm(x))), key_f)
            case "parallel":
                normed = whole(self.attention_norm(x))
                a, cache = self.attention(normed, *context)
                x = x + dropout(a, self.dropout_rate, key_a)
                x = self.add(x, self.feed_forward(normed), key_f)
            case _:
                assert_never(self.layout)
        return x, cache

    def add(
        self,
        x: Float[Array, "B T D"],
        branch: Float[Array, "B T D"],
        dropout_key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        """Return x + dropout(branch), sharded as the residual stream."""
        x = x + dropout(branch, self.dropout_rate, dropout_key)
        return constrain(x, "batch", "length", "residual")


def whole(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Return x whole along D on every device, as attention and feed-forward read it.

    `Block` calls this, rather than the two parts, so that the parallel layout gathers only once.
    """
    return constrain(x, "batch", "length", None)


class Transformer(nnx.Module):
    """A language model: tokens to hidden states (`__call__`), hidden states to logits (`head`)."""

    def __init__(self, config: ModelConfig, execution: Execution = FLOAT32, *, rngs: nnx.Rngs):
        assert execution.dtype != "auto", "execution.dtype='auto'; pass execution.resolve(...)"
        self.config = config
        self.execution = execution
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

        # Without devices to choose for, the kernel that serves every model on any of them.
        kernel = "xla" if execution.attention == "auto" else execution.attention

        @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(config, kernel, rngs=rngs)

        self.layers = stack(rngs.split(config.num_layers))
        self.final_norm = None if config.layout == "post_norm" else Norm(config)
        self.unembedding = (
            None
            if config.tie_embeddings
            else matrix(config, (v, d), ("vocab", "embed"), role="kernel", fan_in=d, rngs=rngs)
        )
        self.logit_bias = vector(0.0, (v,), ("vocab",)) if "logits" in config.biases else None
        match config.embedding_dropout:
            case "vectors":
                self.vector_dropout, self.table_dropout = config.dropout_rate, 0.0
            case "tables":
                self.vector_dropout, self.table_dropout = 0.0, config.dropout_rate
            case _:
                assert_never(config.embedding_dropout)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Positions,
        *,
        cache: KVCache | None = None,
        dropout_key: Key[Array, ""] | None = None,
        micro_batches: int = 1,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Return the hidden states after the last layer and its norm, and the cache grown by T.

        Args:
          micro_batches: number of micro-batches that follow each other through the pipeline's
            stages, if the layers are split over a mesh axis.
        """
        _, layers_key = split_key(dropout_key, 2)
        x = self.embed(tokens, positions, dropout_key)
        x = constrain(x, "batch", "length", "residual")
        if cache is not None:
            cache = cache.append_positions(positions)

        num_layers, num_windows = self.config.num_layers, len(self.config.attention.windows)
        keys = None if layers_key is None else jax.random.split(layers_key, num_layers)
        layers = jax.tree.map(
            lambda leaf: leaf.reshape(-1, num_windows, *leaf.shape[1:]),
            (self.layers, jnp.arange(num_layers), keys),
        )
        axis = mesh_axis("layers")
        if axis is None:
            x, cache = self._apply(layers, x, positions, cache)
        else:
            assert cache is None, "decoding does not run through a pipeline"

            def stage(layers, x: Array, positions: Positions, number: Array) -> Array:
                blocks, indices, keys = layers
                if keys is not None:
                    keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(keys)
                x = constrain(x, "batch", "length", "residual")
                return self._apply((blocks, indices, keys), x, positions, None)[0]

            # Gradients of the ticks add up in the precision of the layers that they close over.
            layers = (jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layers[0]), *layers[1:])
            x = run_stages(stage, layers, x, positions, axis=axis, num_micro_batches=micro_batches)
        x = x if self.final_norm is None else self.final_norm(x)
        return constrain(x, "batch", "length", "residual"), cache

    def embed(
        self,
        tokens: Int[Array, "B T"],
        positions: Positions,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Return the embeddings of the tokens, plus those of learned positions, after dropout."""
        table, position_table = self.tables(dropout_key)
        table = constrain(table, "vocab", None)  # all-gathered along fsdp for the lookup
        # mode="clip": the caller checks ids where text becomes ids. The default mode would fill the
        # row of an id out of range with NaN and spend a select on every lookup.
        x = jnp.take(table, tokens, axis=0, mode="clip")
        if position_table is not None:
            x = x + jnp.take(position_table, positions.index, axis=0, mode="clip")
        x = x.astype(jnp.dtype(self.execution.dtype))
        return dropout(x, self.vector_dropout, split_key(dropout_key, 2)[0])

    def tables(
        self, dropout_key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "V D"], Float[Array, "M D"] | None]:
        """Return the embeddings of tokens and positions, after dropout if it hits the tables.

        They are float32 whatever they are stored in, so that gradients of a token add up in it.
        """
        token_key, position_key = split_key(split_key(dropout_key, 2)[0], 2)
        table = constrain(self.embedding[...].astype(jnp.float32), "vocab", "embed")
        table = dropout(table, self.table_dropout, token_key)
        if self.position_embedding is None:
            return table, None
        positions = self.position_embedding[...].astype(jnp.float32)
        return table, dropout(positions, self.table_dropout, position_key)

    def _apply(self, layers, x: Array, positions: Positions, cache: KVCache | None):
        """Scan over the layers; one iteration applies as many layers as there are windows.

        Each layer's window is then known while tracing.
        """
        windows = self.config.attention.windows

        def apply_layers(carry, layers):
            for i, window in enumerate(windows):
                block, layer, key = jax.tree.map(operator.itemgetter(i), layers)
                apply = functools.partial(block, layer=layer, window=window, dropout_key=key)
                x, cache = carry
                carry = self._rematerialised(apply)(x, positions, cache)
            return carry, None

        unroll = max(1, min(self.execution.unroll, self.config.num_layers) // len(windows))
        carry, _ = jax.lax.scan(apply_layers, (x, cache), layers, unroll=unroll)
        return carry

    def head(self, dropout_key: Key[Array, ""] | None = None) -> Head:
        """Return the output layer, whose matrix is the input embedding or a separate table.

        Args:
          dropout_key: that of the forward pass; it matters if dropout hits a tied table.
        """
        if self.unembedding is None:
            table, _ = self.tables(dropout_key)
        else:
            table = constrain(self.unembedding[...].astype(jnp.float32), "vocab", "embed")
        table = constrain(table, "vocab", None)
        # Gradients of a token, and of a part of the loss, add up in float32.
        bias = None if self.logit_bias is None else self.logit_bias[...].astype(jnp.float32)
        match self.config.logit_scale:
            case "one":
                return Head(table, bias, 1.0)
            case "inverse_sqrt_d_model":
                return Head(table, bias, self.config.d_model**-0.5)
            case _:
                assert_never(self.config.logit_scale)

    def logits(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Return the scores of the next token after each hidden state, in float32."""
        return self.head()(hidden)

    def empty_cache(self, batch_size: int, length: int) -> KVCache:
        """Return buffers for `length` tokens a row, in the precision of the run."""
        config, dtype = self.config, jnp.dtype(self.execution.dtype)
        heads = (config.attention.num_kv_heads, config.attention.head_dim)
        zeros = jnp.zeros((config.num_layers, length, batch_size, *heads), dtype)  # L S B K H
        cells = jnp.zeros((batch_size, length), jnp.int32)
        distance_keys = jax.lax.map(
            lambda block: block.attention.distance_keys(length, dtype), self.layers
        )  # L S N H
        positions = Positions(cells, cells)
        return KVCache(zeros, zeros, positions, jnp.zeros((), jnp.int32), distance_keys)

    def _rematerialised(self, apply_layer):
        match self.execution.remat:
            case "none":
                return apply_layer
            case "dots":
                policy = jax.checkpoint_policies.save_any_names_but_these()
            case "narrow":
                policy = jax.checkpoint_policies.save_any_names_but_these("mlp")
            case "full":
                policy = None
            case _:
                assert_never(self.execution.remat)
        return jax.checkpoint(apply_layer, policy=policy)


def abstract_model(config: ModelConfig, execution: Execution = FLOAT32) -> Transformer:
    """Return the model with shapes and dtypes in place of arrays: nothing is allocated."""
    return nnx.eval_shape(lambda: Transformer(config, execution, rngs=nnx.Rngs(0)))


def abstract_params(config: ModelConfig, dtype: str = "float32") -> nnx.State:
    """Return the shapes and logical axes of all parameters, which are stored in `dtype`."""
    params = nnx.state(abstract_model(config), nnx.Param)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), params)


@functools.cache
def num_params(config: ModelConfig) -> int:
    """Return the exact number of parameters by abstract evaluation, which needs no memory."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
