"""Gopher (Rae et al. 2021, arXiv 2112.11446, section 3.1) as equations, in NumPy float64.

GPT-2 with RMSNorm, without biases on q, k and v, with one on the logits; and with the relative
positions of Transformer-XL (Dai et al. 2019, arXiv 1901.02860, section 3.3) in place of learned
ones. Chinchilla is the same function.
"""

import numpy as np

from tests.reference.gpt import mlp
from tests.reference.parts import layer_of, num_layers, rms_norm, softmax


def logits(params: dict[str, np.ndarray], tokens, *, eps: float) -> np.ndarray:
    """Return the scores [T, V] after each of the T tokens of one document."""
    x = params["embedding"][tokens]
    for index in range(num_layers(params)):
        p = layer_of(params, index)
        x = x + attention(p, rms_norm(x, p["attention_norm.scale"], eps))
        x = x + mlp(p, rms_norm(x, p["feed_forward_norm.scale"], eps))
    x = rms_norm(x, params["final_norm.scale"], eps)
    return x @ params["embedding"].T + params["logit_bias"]


def attention(p, x):
    """Scores (q_i + u) k_j + (q_i + v) W_R R_(i-j), over sqrt(H), for every j <= i.

    These are the terms (a) to (d) of section 3.3, each computed for every pair (i, j) in turn.
    """
    t, d = x.shape
    q, k, v = (
        np.einsum("td,dnh->tnh", x, p[f"attention.{name}.kernel"])
        for name in ("query", "key", "value")
    )
    distances = np.arange(t)[:, None] - np.arange(t)
    r = np.einsum("ijd,dnh->ijnh", sinusoids(distances, d), p["attention.distance.kernel"])
    by_content = np.einsum("inh,jnh->nij", q + p["attention.content_bias"], k)
    by_distance = np.einsum("inh,ijnh->nij", q + p["attention.distance_bias"], r)
    scores = (by_content + by_distance) / np.sqrt(q.shape[-1])
    weights = softmax(np.where(distances < 0, -np.inf, scores))
    attended = np.einsum("nij,jnh->inh", weights, v)
    out = np.einsum("tnh,nhd->td", attended, p["attention.output.kernel"])
    return out + p["attention.output.bias"]


def sinusoids(distances, d):
    """Vaswani et al. 2017, section 3.5, with all sines before all cosines: [..., D]."""
    angles = distances[..., None] / 10_000 ** (2 * np.arange(d // 2) / d)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
