"""PaLM's optimizer (arXiv 2204.02311, section 5) as equations, in NumPy float64.

Adafactor without factoring (Shazeer & Stern 2018, arXiv 1804.04235, algorithm 4 with sections 7.2
and 8): beta2 = 1 - k^-0.8, no bias correction, the step relative to the parameter's RMS; then
momentum, and a weight decay of lr^2.
"""

import numpy as np

Arrays = dict[str, np.ndarray]


def step(p, g, m, v, *, k, lr, stacked, decay, beta1=0.9, decay_exponent=0.8):
    """Return the parameter and its two moments after step k with the clipped gradient g.

    A stacked parameter holds one matrix or vector per layer along its first axis. k, lr and decay
    may be arrays that broadcast against the parameter, for many steps k side by side.
    """
    beta2 = 1 - k**-decay_exponent
    v = beta2 * v + (1 - beta2) * (g**2 + 1e-30)
    axes = tuple(range(1 if stacked else 0, p.ndim))
    scale = np.maximum(1e-3, np.sqrt(np.mean(p**2, axis=axes, keepdims=True)))
    m = beta1 * m + (1 - beta1) * lr * scale * g / np.sqrt(v)
    return p - m - decay * p, m, v


def train(
    params: Arrays,
    gradients: list[Arrays],
    *,
    peak_lr: float,
    constant_steps: int,
    decayed: set[str],
    stacked: set[str],
    beta1: float = 0.9,
    decay_exponent: float = 0.8,
    weight_decay_exponent: float = 2.0,
    clip_norm: float = 1.0,
) -> Arrays:
    """Return the parameters after one step with each of the gradients.

    `decayed` names the parameters with weight decay; `stacked` names those that hold one matrix or
    vector per layer along their first axis.
    """
    params = dict(params)
    second = {name: np.zeros_like(p) for name, p in params.items()}
    momentum = {name: np.zeros_like(p) for name, p in params.items()}
    for k, gradient in enumerate(gradients, start=1):
        lr = peak_lr if k < constant_steps else peak_lr * np.sqrt(constant_steps / k)
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        for name, p in params.items():
            params[name], momentum[name], second[name] = step(
                p,
                gradient[name] * min(1, clip_norm / norm),
                momentum[name],
                second[name],
                k=k,
                lr=lr,
                stacked=name in stacked,
                decay=lr**weight_decay_exponent if name in decayed else 0.0,
                beta1=beta1,
                decay_exponent=decay_exponent,
            )
    return params
