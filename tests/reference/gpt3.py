"""GPT-3 (Brown et al. 2020, arXiv 2005.14165, section 2.1) as equations, in NumPy float64.

GPT-2, except that dense layers alternate with locally banded ones (Child et al. 2019), in which a
token sees the last `window` tokens, itself included.
"""

from collections.abc import Sequence

import numpy as np

from tests.reference.gpt import attention, mlp, norm_parameters
from tests.reference.parts import layer_norm, layer_of, num_layers


def logits(params: dict[str, np.ndarray], tokens, *, windows: Sequence[int | None]) -> np.ndarray:
    """Return the scores [T, V] after each of the T tokens of one document; None is dense."""
    x = params["embedding"][tokens] + params["position_embedding"][: len(tokens)]
    for index in range(num_layers(params)):
        p = layer_of(params, index)
        window = windows[index % len(windows)]
        x = x + attention(p, layer_norm(x, *norm_parameters(p, "attention_norm")), window)
        x = x + mlp(p, layer_norm(x, *norm_parameters(p, "feed_forward_norm")))
    return layer_norm(x, *norm_parameters(params, "final_norm")) @ params["embedding"].T
