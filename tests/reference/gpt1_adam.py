"""The Adam of GPT-1's released code (openai/finetune-transformer-lm, opt.py), in NumPy float64."""

import math
from collections.abc import Callable

import numpy as np


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
        norm = math.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradient.values()))
        corrected = rate(k) * math.sqrt(1 - beta2**k) / (1 - beta1**k)
        for name, p in params.items():
            g = gradient[name] * max_grad_norm / max(norm, max_grad_norm)
            first[name] = beta1 * first[name] + (1 - beta1) * g
            second[name] = beta2 * second[name] + (1 - beta2) * g * g
            step = first[name] / (np.sqrt(second[name]) + eps)
            if name in decayed:
                step = step + l2 * p
            params[name] = p - corrected * step
    return params
