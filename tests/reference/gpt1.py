"""GPT-1 (Radford et al. 2018, section 3.1, equation 2; layers of Liu et al. 2018) in NumPy float64.

h_0 = W_e[tokens] + W_p, a norm after each residual sum, and softmax(h_L W_e^T).
"""

import numpy as np

from tests.reference.gpt import attention, mlp, norm_parameters
from tests.reference.parts import layer_norm, layer_of, num_layers


def logits(params: dict[str, np.ndarray], tokens) -> np.ndarray:
    """Return the scores [T, V] after each of the T tokens of one document."""
    x = params["embedding"][tokens] + params["position_embedding"][: len(tokens)]
    for index in range(num_layers(params)):
        p = layer_of(params, index)
        x = layer_norm(x + attention(p, x), *norm_parameters(p, "attention_norm"))
        x = layer_norm(x + mlp(p, x), *norm_parameters(p, "feed_forward_norm"))
    return x @ params["embedding"].T
