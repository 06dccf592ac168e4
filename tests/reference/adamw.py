"""AdamW (Loshchilov & Hutter 2019, algorithm 2) as equations, in NumPy float64."""

import numpy as np


def step(p, g, m, v, *, k, lr, decay, beta1=0.9, beta2=0.95, eps=1e-8):
    """Return the parameter and its two moments after step k with the clipped gradient g.

    k and lr may be arrays that broadcast against the parameter, for many steps k side by side.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    corrected_m, corrected_v = m / (1 - beta1**k), v / (1 - beta2**k)
    return p - lr * (corrected_m / (np.sqrt(corrected_v) + eps) + decay * p), m, v
