"""GPT-2 (Radford et al. 2019, section 2.3) as equations, in NumPy float64.

GPT-1 with the norm moved to the input of each sub-block and one more after the last block.
"""

import numpy as np

from tests.reference.gpt import attention, mlp, norm_parameters
from tests.reference.parts import layer_norm, layer_of, num_layers


def logits(params: dict[str, np.ndarray], tokens) -> np.ndarray:
    """Return the scores [T, V] after each of the T tokens of one document."""
    x = params["embedding"][tokens] + params["position_embedding"][: len(tokens)]
    for index in range(num_layers(params)):
        p = layer_of(params, index)
        x = x + attention(p, layer_norm(x, *norm_parameters(p, "attention_norm")))
        x = x + mlp(p, layer_norm(x, *norm_parameters(p, "feed_forward_norm")))
    return layer_norm(x, *norm_parameters(params, "final_norm")) @ params["embedding"].T
