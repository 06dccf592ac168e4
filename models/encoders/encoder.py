"""An encoder, whose tokens see both sides: it predicts tokens that are masked.

    x = N(embedding[token] + position[index] + segment[sentence])
    x = blocks(x)                                     post-norm, each token sees the whole sequence
    logits = N(GELU(x W + b)) embedding^T + b         masked tokens
    logits = tanh(x[0] W + b) W2 + b2                 whether the second sentence follows the first

Devlin et al. 2018 (arXiv 1810.04805), section 3 and the released code (modeling.py,
run_pretraining.py).
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.axes import constrain
from models.block import Block, rematerialised
from models.config import ModelConfig
from models.dropout import dropout, split_key
from models.encoders.stacks import Encoder
from models.execution import Execution
from models.linear import (
    Head,
    Linear,
    lookup,
    matrix,
    table_for_products,
    vector,
    whole_rows,
)
from models.norms import Norm
from models.positions import Positions


class EncoderModel(nnx.Module):
    """Tokens to hidden states (`__call__`), and these to logits (`masked_head`, `follows`)."""

    def __init__(
        self, config: ModelConfig, stack: Encoder, execution: Execution, *, rngs: nnx.Rngs
    ):
        assert execution.dtype != "auto", "execution.dtype='auto'; pass execution.resolve(...)"
        self.config = config
        self.execution = execution
        v, d = config.vocab_size, config.d_model

        def table(num_rows: int, axis: str) -> nnx.Param:
            axes = (axis, "embed")
            return matrix(config, (num_rows, d), axes, role="embedding", fan_in=d, rngs=rngs)

        def square() -> Linear:
            axes = ("embed", "residual")
            return Linear(config, (d,), (d,), axes, use_bias=True, rngs=rngs)

        self.embedding = table(v, "vocab")
        self.position_embedding = table(config.context_length, "position")
        self.segment_embedding = table(stack.num_segments, "position")
        self.embedding_norm = Norm(config)

        @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
        def layers(rngs: nnx.Rngs) -> Block:
            return Block(config, "xla", rngs=rngs, sees="both_sides")

        self.layers = layers(rngs.split(config.num_layers))
        self.unembedding = None if config.tie_embeddings else table(v, "vocab")
        self.logit_bias = vector(0.0, (v,), ("vocab",)) if "logits" in config.biases else None
        self.masked_token = square()
        self.masked_token_norm = Norm(config)
        follows = "next_sentence" in stack.heads
        self.pooler = square() if follows else None
        self.next_sentence = (
            Linear(config, (d,), (2,), ("embed", "head_dim"), use_bias=True, rngs=rngs)
            if follows
            else None
        )

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Positions,
        segments: Int[Array, "B T"],
        *,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Return the hidden states after the last layer.

        Args:
          segments: the number of each token's sentence, from 0.
        """
        embedding_key, layers_key = split_key(dropout_key, 2)
        x = self.embed(tokens, positions, segments)
        x = dropout(x, self.config.dropout_rate, embedding_key)
        x = constrain(x, "batch", "length", "residual")
        num_layers = self.config.num_layers
        keys = None if layers_key is None else jax.random.split(layers_key, num_layers)

        def apply_layer(x, layer):
            block, key = layer
            apply = functools.partial(block, past=None, window=None, dropout_key=key)
            return rematerialised(apply, self.execution.remat)(x, positions)[0], None

        unroll = min(self.execution.unroll, num_layers)
        return jax.lax.scan(apply_layer, x, (self.layers, keys), unroll=unroll)[0]

    def embed(
        self, tokens: Int[Array, "B T"], positions: Positions, segments: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Return the normalised sum of the vectors of tokens, positions and sentences."""
        x = lookup(table_for_products(self.embedding), tokens)
        x = x + self.position_embedding[...].astype(jnp.float32)[positions.index]
        x = x + self.segment_embedding[...].astype(jnp.float32)[segments]
        return self.embedding_norm(x).astype(jnp.dtype(self.execution.dtype))

    def masked_tokens(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """Return the states from which `head` predicts the tokens that were masked."""
        is_approximate = self.config.feed_forward.kind == "gelu"
        x = jax.nn.gelu(self.masked_token(hidden), approximate=is_approximate)
        return self.masked_token_norm(x)

    def head(self) -> Head:
        """Return the output layer, which follows `masked_tokens`."""
        table = self.embedding if self.unembedding is None else self.unembedding
        bias = None if self.logit_bias is None else self.logit_bias[...].astype(jnp.float32)
        return Head(whole_rows(table_for_products(table)), bias, 1.0)

    def logits(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Return the scores of the token at each place, in float32."""
        return self.head()(self.masked_tokens(hidden))

    def follows(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B 2"]:
        """Return the scores that the second sentence follows the first, and that it does not."""
        assert self.pooler is not None and self.next_sentence is not None
        return self.next_sentence(jnp.tanh(self.pooler(hidden[:, 0]))).astype(jnp.float32)
