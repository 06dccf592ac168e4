"""PaLM (Chowdhery et al. 2022, arXiv 2204.02311, section 2) as equations, in NumPy float64.

y = x + MLP(LayerNorm(x)) + Attention(LayerNorm(x)), without any bias; multi-query attention; RoPE;
SwiGLU; the output matrix is the input embedding, and the logits are scaled by 1 / sqrt(D).
"""

import numpy as np

from tests.reference.parts import causal_attention, layer_norm, layer_of, num_layers, rope, swish


def logits(params: dict[str, np.ndarray], tokens, *, eps: float, theta: float) -> np.ndarray:
    """Return the scores [T, V] after each of the T tokens of one document."""
    x = params["embedding"][tokens]
    for index in range(num_layers(params)):
        p = layer_of(params, index)
        normed = layer_norm(x, p["attention_norm.scale"], eps=eps)
        x = x + mlp(p, normed) + attention(p, normed, theta)
    x = layer_norm(x, params["final_norm.scale"], eps=eps)
    return x @ params["embedding"].T / np.sqrt(x.shape[-1])


def mlp(p, x):
    """Swish(xW) * xV, then the output projection (section 2, 'SwiGLU activation')."""
    gated = swish(x @ p["feed_forward.gate.kernel"]) * (x @ p["feed_forward.up.kernel"])
    return gated @ p["feed_forward.down.kernel"]


def attention(p, x, theta):
    """Queries [T, N, H]; one key and one value head [T, 1, H] for all of them."""
    q = np.einsum("td,dnh->tnh", x, p["attention.query.kernel"])
    k = np.einsum("td,dkh->tkh", x, p["attention.key.kernel"])
    v = np.einsum("td,dkh->tkh", x, p["attention.value.kernel"])
    attended = causal_attention(rope(q, theta), rope(k, theta), v)
    return np.einsum("tnh,nhd->td", attended, p["attention.output.kernel"])
