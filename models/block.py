"""One layer of the transformer.

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

A block of a decoder that reads an encoder has a third part, between A and F and like them:
attention to what the encoder has read.
"""

from collections.abc import Callable
from typing import Any, assert_never

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from models.attention.cache import Past
from models.attention.cross import CrossAttention, Source
from models.attention.layer import Attention
from models.axes import constrain
from models.config import Layout, ModelConfig
from models.dropout import dropout, split_key
from models.encoders.stacks import Sees
from models.execution import Kernel, Remat
from models.feed_forward import FeedForward
from models.norms import Norm
from models.positions import Positions

CROSS = 2**31
"""Number of the dropout key of attention to an encoder, apart from those of the other parts."""


class Block(nnx.Module):
    """One layer: attention and feed-forward, in the order of the config's layout.

    Args:
      sees: the tokens of the layer's own stack that a token attends to.
      reads_encoder: the layer also attends to what an encoder has read.
    """

    def __init__(
        self,
        config: ModelConfig,
        kernel: Kernel,
        *,
        rngs: nnx.Rngs,
        sees: Sees = "past",
        reads_encoder: bool = False,
    ):
        self.layout: Layout = config.layout
        self.dropout_rate = config.dropout_rate
        self.attention_norm = Norm(config)
        self.attention = Attention(config, kernel, rngs=rngs, sees=sees)
        self.cross_norm = Norm(config) if reads_encoder else None
        self.cross_attention = CrossAttention(config, rngs=rngs) if reads_encoder else None
        # In the parallel layout, both halves share one norm.
        if config.layout != "parallel":
            self.feed_forward_norm = Norm(config)
        self.feed_forward = FeedForward(config, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Positions,
        past: Past | None,
        window: int | None,
        dropout_key: Key[Array, ""] | None,
        *,
        source: Source | None = None,
        bucket_table: Float[Array, "buckets N"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Past | None]:
        key_weights, key_a, key_f = split_key(dropout_key, 3)
        # Everything that attention needs other than its input.
        context = (positions, past, window, key_weights, bucket_table)
        match self.layout:
            case "post_norm":
                a, past = self.attention(whole(x), *context)
                x = self.attention_norm(self.add(x, a, key_a))
                x = self.read(x, source, dropout_key)
                x = self.feed_forward_norm(self.add(x, self.feed_forward(whole(x)), key_f))
            case "pre_norm":
                a, past = self.attention(whole(self.attention_norm(x)), *context)
                x = self.add(x, a, key_a)
                x = self.read(x, source, dropout_key)
                x = self.add(x, self.feed_forward(whole(self.feed_forward_norm(x))), key_f)
            case "parallel":
                normed = whole(self.attention_norm(x))
                a, past = self.attention(normed, *context)
                x = x + dropout(a, self.dropout_rate, key_a)
                x = self.add(x, self.feed_forward(normed), key_f)
            case _:
                assert_never(self.layout)
        return x, past

    def read(
        self, x: Float[Array, "B T D"], source: Source | None, dropout_key: Key[Array, ""] | None
    ) -> Float[Array, "B T D"]:
        """Return x after attention to the source; x itself if the layer reads no encoder."""
        if self.cross_attention is None:
            return x
        assert self.cross_norm is not None and source is not None, "an encoder's output is missing"
        if dropout_key is not None:
            dropout_key = jax.random.fold_in(dropout_key, CROSS)
        key_weights, key_x = split_key(dropout_key, 2)
        match self.layout:
            case "post_norm":
                read = self.cross_attention(whole(x), source, key_weights)
                return self.cross_norm(self.add(x, read, key_x))
            case "pre_norm":
                read = self.cross_attention(whole(self.cross_norm(x)), source, key_weights)
                return self.add(x, read, key_x)
            case "parallel":
                raise AssertionError("ModelConfig allows no parallel layers that read an encoder")
            case _:
                assert_never(self.layout)

    def attention_weights(
        self, x: Float[Array, "B T D"], positions: Positions, window: int | None
    ) -> Float[Array, "B N T T"]:
        """Return the weights of the layer's attention, whose input to the layer is `x`."""
        seen = x if self.layout == "post_norm" else self.attention_norm(x)
        return self.attention.weights(seen, positions, window)

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


def rematerialised(apply: Callable[..., Any], remat: Remat) -> Callable[..., Any]:
    """Return `apply`, whose backward pass repeats what the policy says instead of keeping it."""
    match remat:
        case "none":
            return apply
        case "dots":
            policy = jax.checkpoint_policies.save_any_names_but_these()
        case "narrow":
            policy = jax.checkpoint_policies.save_any_names_but_these("mlp")
        case "full":
            policy = None
        case _:
            assert_never(remat)
    return jax.checkpoint(apply, policy=policy)
