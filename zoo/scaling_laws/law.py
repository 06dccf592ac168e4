"""The loss as a function of parameters and tokens, and the best split of a compute budget.

The letters are Chinchilla's (arXiv 2203.15556, section 3.3): N parameters, D tokens, C FLOPs.
"""

import math
from dataclasses import dataclass
from typing import overload

import numpy as np

FLOPS_PER_PARAM_AND_TOKEN = 6
"""C = 6ND: two FLOPs for the forward pass, four for the backward pass (Kaplan et al. 2020)."""


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N^alpha + B / D^beta, in nats per token."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    @overload
    def loss(self, params: float, tokens: float) -> float: ...

    @overload
    def loss(self, params: np.ndarray, tokens: np.ndarray) -> np.ndarray: ...

    def loss(self, params: float | np.ndarray, tokens: float | np.ndarray) -> float | np.ndarray:
        """Return the loss after training N `params` on D `tokens`."""
        return self.E + self.A * params**-self.alpha + self.B * tokens**-self.beta

    @property
    def exponent(self) -> float:
        """The exponent a of N_opt ~ C^a; D_opt ~ C^(1 - a)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def optimum(self) -> "PowerLaw":
        """N_opt(C) = G (C/6)^a with G = (alpha A / beta B)^(1 / (alpha + beta)): equation 4."""
        ratio = self.alpha * self.A / (self.beta * self.B)
        factor = ratio ** (1 / (self.alpha + self.beta))
        scale = factor / FLOPS_PER_PARAM_AND_TOKEN**self.exponent
        return PowerLaw(math.log(scale), self.exponent)


@dataclass(frozen=True)
class PowerLaw:
    """The best number of parameters for a budget: N_opt(C) = e^log_scale C^exponent."""

    log_scale: float
    exponent: float

    def params(self, flops: float) -> float:
        """Return N_opt of C `flops`."""
        return math.exp(self.log_scale + self.exponent * math.log(flops))

    def tokens(self, flops: float) -> float:
        """Return D_opt = C / 6 N_opt."""
        return flops / (FLOPS_PER_PARAM_AND_TOKEN * self.params(flops))
