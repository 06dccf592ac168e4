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
"""

from typing import assert_never

from flax import nnx
from jaxtyping import Array, Float, Key

from models.attention.layer import Attention
from models.axes import constrain
from models.cache import Past
from models.config import Kernel, Layout, ModelConfig
from models.dropout import dropout, split_key
from models.feed_forward import FeedForward
from models.norms import Norm
from models.positions import Positions


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
        past: Past | None,
        window: int | None,
        dropout_key: Key[Array, ""] | None,
    ) -> tuple[Float[Array, "B T D"], Past | None]:
        key_weights, key_a, key_f = split_key(dropout_key, 3)
        # Everything that attention needs other than its input.
        context = (positions, past, window, key_weights)
        match self.layout:
            case "post_norm":
                a, past = self.attention(whole(x), *context)
                x = self.attention_norm(self.add(x, a, key_a))
                x = self.feed_forward_norm(self.add(x, self.feed_forward(whole(x)), key_f))
            case "pre_norm":
                a, past = self.attention(whole(self.attention_norm(x)), *context)
                x = self.add(x, a, key_a)
                x = self.add(x, self.feed_forward(whole(self.feed_forward_norm(x))), key_f)
            case "parallel":
                normed = whole(self.attention_norm(x))
                a, past = self.attention(normed, *context)
                x = x + dropout(a, self.dropout_rate, key_a)
                x = self.add(x, self.feed_forward(normed), key_f)
            case _:
                assert_never(self.layout)
        return x, past

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
