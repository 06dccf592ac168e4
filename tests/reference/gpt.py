"""The two halves of a layer of GPT-1, 2 and 3: attention and MLP, with biases everywhere."""

import numpy as np

from tests.reference.parts import causal_attention, gelu


def attention(p, x, window=None):
    q, k, v = (
        np.einsum("td,dnh->tnh", x, p[f"attention.{name}.kernel"]) + p[f"attention.{name}.bias"]
        for name in ("query", "key", "value")
    )
    attended = causal_attention(q, k, v, window)
    out = np.einsum("tnh,nhd->td", attended, p["attention.output.kernel"])
    return out + p["attention.output.bias"]


def mlp(p, x):
    hidden = gelu(x @ p["feed_forward.up.kernel"] + p["feed_forward.up.bias"])
    return hidden @ p["feed_forward.down.kernel"] + p["feed_forward.down.bias"]


def norm_parameters(p, name):
    return p[f"{name}.scale"], p[f"{name}.bias"]
