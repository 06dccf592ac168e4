"""The output layer: from hidden states to logits."""

import dataclasses
from typing import no_type_check

import jax
from jaxtyping import Array, Float

from models.linear import matmul_transposed


@no_type_check  # at run time: jax.custom_vjp fills the tree with placeholders to find its structure
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Head:
    """The function from hidden states to logits, as a tree of only the arrays that it uses.

    A loss can then take its gradient without touching the other parameters.
    """

    table: Float[Array, "V D"]
    bias: Float[Array, " V"] | None
    scale: float = dataclasses.field(metadata={"static": True})

    def __call__(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Return the scores of the next token, in float32."""
        logits = matmul_transposed(hidden, self.table, ("vocab", "embed")) * self.scale
        return logits if self.bias is None else logits + self.bias
