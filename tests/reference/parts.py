"""The equations that several papers share, for one document, in NumPy float64.

Letters as in models/axes.py: T tokens, D d_model, N heads, K kv heads, H head_dim.
"""

import numpy as np
from numpy.typing import ArrayLike


def layer_norm(x, scale, bias: ArrayLike = 0, eps=1e-5):
    """Ba et al. 2016, equation 3."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * scale + bias


def rms_norm(x, scale, eps):
    """Zhang & Sennrich 2019, equation 4."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale


def softmax(x):
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def gelu(x):
    """Hendrycks & Gimpel 2016, in the tanh form."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def swish(x):
    return x / (1 + np.exp(-x))


def rope(x, theta):
    """Su et al. 2021: rotate each pair of coordinates of [T, heads, H] as a complex number.

    The pairs are (i, i + H/2), as models/positions.py documents.
    """
    t, _, h = x.shape
    pairs = x[..., : h // 2] + 1j * x[..., h // 2 :]
    angles = np.arange(t)[:, None] * theta ** (-2 * np.arange(h // 2) / h)
    turned = pairs * np.exp(1j * angles)[:, None, :]
    return np.concatenate([turned.real, turned.imag], axis=-1)


def causal_attention(q, k, v, window=None):
    """Vaswani et al. 2017, section 3.2.1, one query head at a time: [T, N, H] from K shared heads.

    A token sees itself and all tokens before it; with a window, the last `window` of these.
    """
    t, n, h = q.shape
    group = n // k.shape[1]
    distances = np.arange(t)[:, None] - np.arange(t)
    seen = (distances >= 0) & (distances < (window or t))
    heads = []
    for i in range(n):
        scores = q[:, i] @ k[:, i // group].T / np.sqrt(h)
        heads.append(softmax(np.where(seen, scores, -np.inf)) @ v[:, i // group])
    return np.stack(heads, axis=1)


def layer_of(params, index):
    """Return the parameters of one layer: 'layers.a.b', stacked over layers, becomes 'a.b'."""
    prefix = "layers."
    return {
        name.removeprefix(prefix): value[index]
        for name, value in params.items()
        if name.startswith(prefix)
    }


def num_layers(params):
    return len(params["layers.attention.query.kernel"])
