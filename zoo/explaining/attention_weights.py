"""The attention weights of a text: which tokens each head of each layer reads."""

import functools
from dataclasses import dataclass
from io import BytesIO

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from models.config import check
from models.positions import Positions
from models.transformer import Transformer
from zoo.inference.language_model import LanguageModel

MAX_TOKENS = 256
"""Longest text: the weights of a longer one would not be seen, and take memory by its square."""
_MAX_LABELS = 40


@dataclass(frozen=True, eq=False)
class AttentionWeights:
    """The weights of one text. A notebook shows them as a picture: a square per layer and head."""

    tokens: list[str]
    weights: np.ndarray
    """[L N T T] the weight that query t of head n in layer l gives to key s; rows add up to 1."""

    def mean_distance(self) -> np.ndarray:
        """Return [L N] how many tokens back a head looks, averaged over its weights."""
        length = len(self.tokens)
        distance = np.arange(length)[:, None] - np.arange(length)
        return (self.weights * distance).sum(axis=-1).mean(axis=-1)

    def picture(self, kind: str = "png") -> bytes:
        """Return the squares as a file of the `kind` png, svg or pdf: layers down, heads across."""
        # Without pyplot: a notebook's own plots stay as they are.
        from matplotlib.figure import Figure

        num_layers, num_heads, length, _ = self.weights.shape
        labelled = num_layers * num_heads == 1 and length <= _MAX_LABELS
        side = 6.0 if labelled else 1.7
        figure = Figure(figsize=(side * num_heads, side * num_layers), layout="constrained")
        grid = figure.subplots(num_layers, num_heads, squeeze=False)
        for (layer, head), axes in np.ndenumerate(grid):
            # The square root shows small weights, too.
            axes.imshow(np.sqrt(self.weights[layer, head]), vmin=0, vmax=1, cmap="Blues")
            axes.set_title(f"layer {layer}, head {head}", fontsize=7)
            axes.set_xticks([])
            axes.set_yticks([])
            if labelled:
                axes.set_xticks(range(length), self.tokens, rotation=90, fontsize=7)
                axes.set_yticks(range(length), self.tokens, fontsize=7)
        file = BytesIO()
        figure.savefig(file, dpi=110, format=kind)
        return file.getvalue()

    def head(self, layer: int, head: int) -> "AttentionWeights":
        """Return the weights of one head alone, whose picture names the tokens."""
        return AttentionWeights(self.tokens, self.weights[layer : layer + 1, head : head + 1])

    def _repr_png_(self) -> bytes:
        return self.picture()


def attention_weights(model: LanguageModel, text: str) -> AttentionWeights:
    """Return the attention weights of `text`, read as one document.

    Raises ConfigError if it has more tokens than MAX_TOKENS or the model's context.
    """
    vocabulary = model.vocabulary
    ids = [*vocabulary.start, *vocabulary.encode(text)]
    longest = min(MAX_TOKENS, model.experiment.model.context_length)
    check(
        0 < len(ids) <= longest,
        f"the text has {len(ids)} tokens; write one of 1 to {longest} tokens",
    )
    weights = _weights(model.graphdef, model.params, jnp.array([ids]))
    return AttentionWeights([vocabulary.decode([i]) or "·" for i in ids], np.asarray(weights))


@functools.partial(jax.jit, static_argnames="graphdef")
def _weights(
    graphdef: nnx.GraphDef, params: nnx.State, tokens: Int[Array, "1 T"]
) -> Float[Array, "L N T T"]:
    model: Transformer = nnx.merge(graphdef, params)
    positions = Positions.whole_rows(*tokens.shape)
    x = model.embed(tokens, positions)
    found = []
    for number, window in enumerate(model.windows()):
        layer = model.layer(number)
        found.append(layer.attention_weights(x, positions, window)[0])
        x, _ = layer(x, positions, None, window, None)
    return jnp.stack(found)
