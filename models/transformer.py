"""The one transformer that all families share.

For training, the parameters of all layers are stacked along a leading axis `layers`, and the
forward pass scans over that axis, so compile time does not grow with depth. A model that was loaded
to decode has a list of layers instead, each with arrays of its own: reading them once per token is
what takes the time, and a slice of a stack would be copied first.
"""

import dataclasses
import operator
from typing import assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.attention.cache import Cells, KVCache, Past, num_cells
from models.axes import constrain, mesh_axis
from models.block import Block, rematerialised
from models.config import Bucketed, Learned, ModelConfig, Relative, Rotary, Sinusoidal
from models.dropout import dropout, split_key
from models.execution import Execution
from models.int8 import Int8Matrix, rows, to_int8
from models.linear import (
    Head,
    Linear,
    embedding_scale,
    lookup,
    matrix,
    table_for_products,
    vector,
    whole_rows,
)
from models.norms import Norm
from models.positions import Positions, sinusoids
from models.stages import run_stages

FLOAT32 = Execution(dtype="float32")
"""The default execution, for callers that need only the parameters."""


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

        self.layers: Block | nnx.List[Block] = stack(rngs.split(config.num_layers))
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

        axis = mesh_axis("layers")
        if cache is not None or not isinstance(self.layers, Block):
            assert dropout_key is None, "dropout is for training, which scans over the stack"
            x, cache = self._one_by_one(x, positions, cache)
        elif axis is None:
            x = self._scan(self._stack(layers_key), x, positions)
        else:

            def stage(layers, x: Array, positions: Positions, number: Array) -> Array:
                blocks, keys = layers
                if keys is not None:
                    keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(keys)
                x = constrain(x, "batch", "length", "residual")
                return self._scan((blocks, keys), x, positions)

            blocks, keys = self._stack(layers_key)
            # Gradients of the ticks add up in the precision of the layers that they close over.
            layers = (jax.tree.map(lambda leaf: leaf.astype(jnp.float32), blocks), keys)
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
        x = lookup(table, tokens)
        x = x * embedding_scale(self.config)
        match self.config.position:
            case Learned():
                assert position_table is not None
                x = x + rows(position_table, positions.index)
            case Sinusoidal():
                x = x + sinusoids(positions.index, x.shape[-1])
            case Rotary() | Relative() | Bucketed():
                pass  # known to the layers
            case _:
                assert_never(self.config.position)
        x = x.astype(jnp.dtype(self.execution.dtype))
        return dropout(x, self.vector_dropout, split_key(dropout_key, 2)[0])

    def tables(
        self, dropout_key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "V D"] | Int8Matrix, Float[Array, "M D"] | None]:
        """Return the embeddings of tokens and positions, after dropout if it hits the tables.

        Unless they are int8, they are float32 whatever they are stored in, so that gradients of a
        token add up in it.
        """
        token_key, position_key = split_key(split_key(dropout_key, 2)[0], 2)
        table = table_for_products(self.embedding)
        if not isinstance(table, Int8Matrix):
            table = dropout(table, self.table_dropout, token_key)
        if self.position_embedding is None:
            return table, None
        positions = self.position_embedding[...].astype(jnp.float32)
        return table, dropout(positions, self.table_dropout, position_key)

    def _stack(self, dropout_key: Key[Array, ""] | None):
        """Return the stacked layers and their keys, in groups of as many as there are windows."""
        num_layers, num_windows = self.config.num_layers, len(self.config.attention.windows)
        keys = None if dropout_key is None else jax.random.split(dropout_key, num_layers)
        return jax.tree.map(
            lambda leaf: leaf.reshape(-1, num_windows, *leaf.shape[1:]), (self.layers, keys)
        )

    def _scan(self, layers, x: Float[Array, "B T D"], positions: Positions):
        """Scan over groups of layers; each layer's window is then known while tracing."""
        windows = self.config.attention.windows

        def apply_layers(x, layers):
            for i, window in enumerate(windows):

                def apply(layers, x, positions, i=i, window=window):
                    block, key = jax.tree.map(operator.itemgetter(i), layers)
                    return block(x, positions, None, window, key)[0]

                # The layer is taken from its group in here: the backward pass then takes it from
                # the parameters again. Outside, the scan would keep a copy of each layer.
                x = rematerialised(apply, self.execution.remat)(layers, x, positions)
            return x, None

        unroll = max(1, min(self.execution.unroll, self.config.num_layers) // len(windows))
        return jax.lax.scan(apply_layers, x, layers, unroll=unroll)[0]

    def _one_by_one(
        self, x: Float[Array, "B T D"], positions: Positions, cache: KVCache | None
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Apply the layers, each to its own cells of the cache."""
        all_cells = []
        for i, window in enumerate(self.windows()):
            past = None
            if cache is not None:
                start = cache.length - x.shape[1]
                past = Past(cache.layers[i], cache.positions, start)
            x, past = self.layer(i)(x, positions, past, window, None)
            all_cells.append(None if past is None else past.cells)
        return x, cache and dataclasses.replace(cache, layers=tuple(all_cells))

    def layer(self, number: int) -> Block:
        """Return one layer; from a stack, its slice, which XLA's CPU backend copies at each use."""
        if isinstance(self.layers, Block):
            return jax.tree.map(operator.itemgetter(number), self.layers)
        return self.layers[number]

    def windows(self) -> list[int | None]:
        """Return the window of each layer."""
        windows = self.config.attention.windows
        return [windows[i % len(windows)] for i in range(self.config.num_layers)]

    def head(self, dropout_key: Key[Array, ""] | None = None) -> Head:
        """Return the output layer, whose matrix is the input embedding or a separate table.

        Args:
          dropout_key: that of the forward pass; it matters if dropout hits a tied table.
        """
        if self.unembedding is None:
            table, _ = self.tables(dropout_key)
        else:
            table = table_for_products(self.unembedding)
        # Gradients of a token, and of a part of the loss, add up in float32.
        bias = None if self.logit_bias is None else self.logit_bias[...].astype(jnp.float32)
        match self.config.logit_scale:
            case "one":
                return Head(whole_rows(table), bias, 1.0)
            case "inverse_sqrt_d_model":
                return Head(whole_rows(table), bias, self.config.d_model**-0.5)
            case _:
                assert_never(self.config.logit_scale)

    def logits(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Return the scores of the next token after each hidden state, in float32."""
        return self.head()(hidden)

    def empty_cache(self, batch_size: int, length: int) -> KVCache:
        """Return cells for `length` tokens a row, in the precision of the run.

        A layer with a window gets only the cells that it needs.
        """
        heads, dtype = self.config.attention, jnp.dtype(self.execution.dtype)

        def cells(number: int, window: int | None) -> Cells:
            # The scores of relative positions count on neighbouring cells for neighbouring tokens.
            is_relative = isinstance(self.config.position, Relative)
            c = num_cells(length, None if is_relative else window)
            zeros = jnp.zeros((batch_size, heads.num_kv_heads, c, heads.head_dim), dtype)
            return Cells(zeros, zeros, self.layer(number).attention.distance_keys(c, dtype))

        layers = tuple(cells(i, window) for i, window in enumerate(self.windows()))
        tokens = jnp.zeros((batch_size, num_cells(length, None)), jnp.int32)
        return KVCache(layers, Positions(tokens, tokens), 0)

    def store_as_int8(self) -> None:
        """Replace all matrices but those of learned positions by the nearest int8 matrices."""
        for _, module in [*nnx.iter_modules(self)]:
            if isinstance(module, Linear):
                module.store_as_int8()
        self.embedding.set_value(to_int8(self.embedding[...]))
        if self.unembedding is not None:
            self.unembedding.set_value(to_int8(self.unembedding[...]))
