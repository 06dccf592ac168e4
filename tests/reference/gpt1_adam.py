"""The Adam of GPT-1's released code (openai/finetune-transformer-lm, opt.py), in NumPy float64."""

from collections.abc import Callable

import numpy as np


def step(p, g, m, v, *, k, lr, decay, beta1=0.9, beta2=0.999, eps=1e-8):
    """Return the parameter and its two moments after step k with the clipped gradient g.

    k and lr may be arrays that broadcast against the parameter, for many steps k side by side.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    corrected = lr * np.sqrt(1 - beta2**k) / (1 - beta1**k)
    return p - corrected * (m / (np.sqrt(v) + eps) + decay * p), m, v


def train(
    params: dict[str, np.ndarray],
    gradients: list[dict[str, np.ndarray]],
    *,
    rate: Callable[[int], float],
    decayed: set[str],
    beta1: float,
    beta2: float,
    eps: float,
    l2: float,
    max_grad_norm: float,
) -> dict[str, np.ndarray]:
    """Return the parameters after one step per gradient; step k = 1, 2, ... has rate(k).

    Vectors are recognised by name, where opt.py asks for rank 1: here layers are stacked.
    """
    params = {name: value.astype(np.float64) for name, value in params.items()}
    first = {name: np.zeros_like(value) for name, value in params.items()}
    second = {name: np.zeros_like(value) for name, value in params.items()}
    for k, gradient in enumerate(gradients, start=1):
        norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradient.values()))
        for name, p in params.items():
            params[name], first[name], second[name] = step(
                p,
                gradient[name] * max_grad_norm / max(norm, max_grad_norm),
                first[name],
                second[name],
                k=k,
                lr=rate(k),
                decay=l2 if name in decayed else 0.0,
                beta1=beta1,
                beta2=beta2,
                eps=eps,
            )
    return params
