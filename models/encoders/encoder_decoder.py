"""An encoder that reads a text, and a decoder that writes another one while it looks at the first.

    encoded = blocks(embedding[source])       each token sees the whole source
    x = blocks(embedding[tokens], encoded)    each token sees those before it, and the source
    logits = x embedding^T

Vaswani et al. 2017 (arXiv 1706.03762), section 3; with bucketed positions and pre-norm layers it is
the model of Raffel et al. 2020 (T5, arXiv 1910.10683), section 2.1.

Both stacks are made of the blocks of `models.block`. They stand in a file of their own, beside the
one stack of `models.transformer`, because their inputs, their masks and their caches are two: a
choice inside of `Transformer` would double each of its methods.
"""

import dataclasses
import operator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.attention.cache import Cells, KVCache, Past, num_cells
from models.attention.cross import Source
from models.axes import constrain
from models.block import Block, rematerialised
from models.config import Bucketed, ModelConfig, Sinusoidal
from models.dropout import dropout, split_key
from models.encoders.stacks import EncoderDecoder, Sees
from models.execution import Execution
from models.linear import (
    Head,
    embedding_scale,
    lookup,
    matrix,
    table_for_products,
    vector,
    whole_rows,
)
from models.norms import Norm
from models.positions import Positions, sinusoids


class EncoderDecoderModel(nnx.Module):
    """A source to hidden states (`encode`), and these and tokens to others (`decode`)."""

    def __init__(
        self, config: ModelConfig, stacks: EncoderDecoder, execution: Execution, *, rngs: nnx.Rngs
    ):
        assert execution.dtype != "auto", "execution.dtype='auto'; pass execution.resolve(...)"
        self.config = config
        self.execution = execution
        v, d = config.vocab_size, config.d_model

        def table(role: Any) -> nnx.Param:
            return matrix(config, (v, d), ("vocab", "embed"), role=role, fan_in=d, rngs=rngs)

        def layers(num_layers: int, sees: Sees, *, reads_encoder: bool) -> Block:
            @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
            def stack(rngs: nnx.Rngs) -> Block:
                return Block(config, "xla", rngs=rngs, sees=sees, reads_encoder=reads_encoder)

            return stack(rngs.split(num_layers))

        def buckets() -> nnx.Param | None:
            if not isinstance(config.position, Bucketed):
                return None
            shape = (config.position.num_buckets, config.attention.num_heads)
            axes = ("position", "heads")
            return matrix(config, shape, axes, role="kernel", fan_in=d, rngs=rngs)

        has_final_norm = config.layout != "post_norm"
        self.embedding = table("embedding")
        self.encoder_layers = layers(stacks.num_encoder_layers, "both_sides", reads_encoder=False)
        self.encoder_norm = Norm(config) if has_final_norm else None
        self.encoder_buckets = buckets()
        self.decoder_layers = layers(config.num_layers, "past", reads_encoder=True)
        self.decoder_norm = Norm(config) if has_final_norm else None
        self.decoder_buckets = buckets()
        self.unembedding = None if config.tie_embeddings else table("kernel")
        self.logit_bias = vector(0.0, (v,), ("vocab",)) if "logits" in config.biases else None

    def encode(
        self,
        source: Int[Array, "B S"],
        positions: Positions,
        *,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B S D"]:
        """Return the encoder's output for a source; segment 0 is padding."""
        embedding_key, layers_key, output_key = split_key(dropout_key, 3)
        x = self.embed(source, positions, embedding_key)
        buckets = _values(self.encoder_buckets)

        def apply_layer(x, layer):
            block, key = layer

            def apply(x, positions):
                return block(x, positions, None, None, key, bucket_table=buckets)[0]

            return rematerialised(apply, self.execution.remat)(x, positions), None

        x = self._scan(apply_layer, x, self.encoder_layers, layers_key)
        return self._finish(x, self.encoder_norm, output_key)

    def decode(
        self,
        tokens: Int[Array, "B T"],
        positions: Positions,
        encoded: Float[Array, "B S D"],
        source_positions: Positions,
        *,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Return the hidden states after the decoder's last layer and its norm."""
        embedding_key, layers_key, output_key = split_key(dropout_key, 3)
        x = self.embed(tokens, positions, embedding_key)
        buckets, is_text = _values(self.decoder_buckets), source_positions.segment_ids != 0

        def apply_layer(x, layer):
            block, key = layer

            def apply(x, positions, encoded):
                source = _cross(block).read(encoded, is_text)
                given = {"source": source, "bucket_table": buckets}
                return block(x, positions, None, None, key, **given)[0]

            return rematerialised(apply, self.execution.remat)(x, positions, encoded), None

        x = self._scan(apply_layer, x, self.decoder_layers, layers_key)
        return self._finish(x, self.decoder_norm, output_key)

    def embed(
        self, tokens: Int[Array, "B T"], positions: Positions, dropout_key: Key[Array, ""] | None
    ) -> Float[Array, "B T D"]:
        """Return the embeddings of tokens of either stack, with sinusoids of their positions."""
        x = lookup(table_for_products(self.embedding), tokens)
        x = x * embedding_scale(self.config)
        if isinstance(self.config.position, Sinusoidal):
            x = x + sinusoids(positions.index, x.shape[-1])
        x = x.astype(jnp.dtype(self.execution.dtype))
        x = dropout(x, self.config.dropout_rate, dropout_key)
        return constrain(x, "batch", "length", "residual")

    def head(self) -> Head:
        """Return the output layer, whose matrix is the input embedding or a separate table."""
        table = self.embedding if self.unembedding is None else self.unembedding
        bias = None if self.logit_bias is None else self.logit_bias[...].astype(jnp.float32)
        return Head(whole_rows(table_for_products(table)), bias, 1.0)

    # --- decoding with a cache -------------------------------------------------------------------

    def sources(
        self, encoded: Float[Array, "B S D"], source_positions: Positions
    ) -> tuple[Source, ...]:
        """Return what each layer of the decoder reads of a source, to decode many tokens."""
        is_text = source_positions.segment_ids != 0
        blocks = map(self._decoder_layer, range(self.config.num_layers))
        return tuple(_cross(block).read(encoded, is_text) for block in blocks)

    def step(
        self,
        tokens: Int[Array, "B T"],
        positions: Positions,
        sources: tuple[Source, ...],
        cache: KVCache,
    ) -> tuple[Float[Array, "B T D"], KVCache]:
        """Return the hidden states of the next tokens, and the cache with them."""
        x = self.embed(tokens, positions, None)
        cache = cache.append_positions(positions)
        start, buckets, layers = cache.length - tokens.shape[1], _values(self.decoder_buckets), []
        for number, (source, cells) in enumerate(zip(sources, cache.layers, strict=True)):
            past = Past(cells, cache.positions, start)
            given = {"source": source, "bucket_table": buckets}
            x, past = self._decoder_layer(number)(x, positions, past, None, None, **given)
            assert past is not None
            layers.append(past.cells)
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        return x, dataclasses.replace(cache, layers=tuple(layers))

    def empty_cache(self, batch_size: int, length: int) -> KVCache:
        """Return cells for `length` tokens a row of the decoder, in the precision of the run."""
        heads, dtype = self.config.attention, jnp.dtype(self.execution.dtype)
        c, buckets = num_cells(length, None), _values(self.decoder_buckets)
        zeros = jnp.zeros((batch_size, heads.num_kv_heads, c, heads.head_dim), dtype)
        by_distance = self._decoder_layer(0).attention.distance_keys(c, dtype, buckets)
        cells = Cells(zeros, zeros, by_distance)
        tokens = jnp.zeros((batch_size, c), jnp.int32)
        return KVCache((cells,) * self.config.num_layers, Positions(tokens, tokens), 0)

    def _decoder_layer(self, number: int) -> Block:
        return jax.tree.map(operator.itemgetter(number), self.decoder_layers)

    def _scan(self, apply_layer, x: Array, layers: Block, key: Key[Array, ""] | None) -> Array:
        num_layers = jax.tree.leaves(layers)[0].shape[0]
        keys = None if key is None else jax.random.split(key, num_layers)
        unroll = min(self.execution.unroll, num_layers)
        return jax.lax.scan(apply_layer, x, (layers, keys), unroll=unroll)[0]

    def _finish(self, x: Array, norm: Norm | None, key: Key[Array, ""] | None) -> Array:
        """Return the output of a stack, with the dropout that follows a final norm."""
        if norm is None:
            return x
        return dropout(norm(x), self.config.dropout_rate, key)


def _values(table: nnx.Param | None) -> Float[Array, "buckets N"] | None:
    return None if table is None else table[...].astype(jnp.float32)


def _cross(block: Block):
    assert block.cross_attention is not None
    return block.cross_attention
