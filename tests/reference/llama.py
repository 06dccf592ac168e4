"""LLaMA (Touvron et al. 2023, section 2.2) with grouped queries (Ainslie et al. 2023), in NumPy.

The halves of a layer are PaLM's, one after the other, with an RMSNorm before each. LLaMA has a
separate output matrix; some models of its shape use the input embedding instead.
"""

import numpy as np

from tests.reference.palm import attention, mlp
from tests.reference.parts import layer_of, num_layers, rms_norm


def logits(params: dict[str, np.ndarray], tokens, *, eps: float, theta: float) -> np.ndarray:
    """Return the scores [T, V] after each of the T tokens of one document."""
    x = params["embedding"][tokens]
    for index in range(num_layers(params)):
        p = layer_of(params, index)
        x = x + attention(p, rms_norm(x, p["attention_norm.scale"], eps), theta)
        x = x + mlp(p, rms_norm(x, p["feed_forward_norm.scale"], eps))
    output = params.get("unembedding", params["embedding"])
    return rms_norm(x, params["final_norm.scale"], eps) @ output.T
