"""The half of a block that treats every position separately."""

from typing import assert_never

import jax
from flax import nnx
from jaxtyping import Array, Float

from models.axes import constrain
from models.config import FeedForwardKind, ModelConfig
from models.linear import Linear


class FeedForward(nnx.Module):
    """Two matrices around GELU or ReLU, or three: (Swish(x W) * x V) W2, or with GELU.

    Shazeer 2020, arXiv 2002.05202, equation 6.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        d, f = config.d_model, config.feed_forward.d_ff
        use_bias = "feed_forward" in config.biases
        self.kind: FeedForwardKind = config.feed_forward.kind

        def up() -> Linear:
            return Linear(config, (d,), (f,), ("embed", "mlp"), use_bias=use_bias, rngs=rngs)

        self.up = up()
        self.gate = up() if self.kind in ("swiglu", "geglu") else None
        self.down = Linear(
            config, (f,), (d,), ("mlp", "embed"), role="residual", use_bias=use_bias, rngs=rngs
        )

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        match self.kind:
            case "gelu":
                hidden = jax.nn.gelu(self.up(x), approximate=True)
            case "gelu_erf":
                hidden = jax.nn.gelu(self.up(x), approximate=False)
            case "relu":
                hidden = jax.nn.relu(self.up(x))
            case "geglu":
                assert self.gate is not None
                hidden = jax.nn.gelu(self.gate(x), approximate=True) * self.up(x)
            case "swiglu":
                assert self.gate is not None
                hidden = jax.nn.silu(self.gate(x)) * self.up(x)
            case _:
                assert_never(self.kind)
        return self.down(constrain(hidden, "batch", "length", "mlp"))
