"""Learning-rate schedules and optimizers, as plain data. Standard library only."""

from dataclasses import dataclass, field
from typing import Literal

from data.config import MAY_CHANGE
from models.config import check, check_above_zero


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot:
    """lr(k) = peak_lr * sqrt(constant_steps / max(k, constant_steps)) at step k = 1, 2, ...

    With peak_lr 1e-2 and constant_steps 10,000 this is PaLM's schedule, 1e-2 and then 1/sqrt(k). It
    counts steps, not tokens: at the same token, another batch gives another rate.
    """

    peak_lr: float = field(metadata=MAY_CHANGE)
    """Highest rate. A resumed run may lower it, as after a divergence."""
    constant_steps: int
    """Steps at the peak before the decay."""

    def __post_init__(self):
        _check_peak(self.peak_lr)
        check_above_zero(self, "optimizer.schedule.", "constant_steps")


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up to the peak, half a cosine down to `final_fraction` of it, then constant."""

    peak_lr: float = field(metadata=MAY_CHANGE)
    """Highest rate. A resumed run may lower it, as after a divergence."""
    warmup_steps: int
    initial_lr: float = 0.0
    """Learning rate at which the warm-up starts."""
    decay_steps: int | None = None
    """Step at which the cosine ends, counted from the start of the warm-up; None: the last step."""
    final_fraction: float = 0.1

    def __post_init__(self):
        _check_peak(self.peak_lr)
        check(
            self.warmup_steps >= 0,
            f"optimizer.schedule.warmup-steps={self.warmup_steps} must not be negative; write "
            "--optimizer.schedule.warmup-steps=0 or more",
        )
        check(
            0 <= self.initial_lr <= self.peak_lr,
            f"optimizer.schedule.initial-lr={self.initial_lr} must lie between zero and "
            f"peak-lr={self.peak_lr}",
        )
        check(
            self.decay_steps is None or self.decay_steps > self.warmup_steps,
            f"optimizer.schedule.decay-steps={self.decay_steps} must exceed "
            f"warmup-steps={self.warmup_steps}: the cosine ends there",
        )


@dataclass(frozen=True, kw_only=True)
class WarmupCosineInTokens:
    """Linear warm-up and half a cosine, both in the tokens of the steps that were taken.

    While the batch grows, this is another learning rate at each step than `WarmupCosine`'s.
    """

    peak_lr: float = field(metadata=MAY_CHANGE)
    """Highest rate. A resumed run may lower it, as after a divergence."""
    warmup_tokens: float
    """Tokens at which the learning rate reaches its peak."""
    decay_tokens: float | None = None
    """Tokens at which the cosine ends, warm-up included; None: the end of the run."""
    final_fraction: float = 0.1

    def __post_init__(self):
        _check_peak(self.peak_lr)
        check(
            self.warmup_tokens >= 0,
            f"optimizer.schedule.warmup-tokens={self.warmup_tokens} must not be negative; write "
            "--optimizer.schedule.warmup-tokens=0 or more",
        )
        check(
            self.decay_tokens is None or self.decay_tokens > self.warmup_tokens,
            f"optimizer.schedule.decay-tokens={self.decay_tokens} must exceed "
            f"warmup-tokens={self.warmup_tokens}: the cosine ends there",
        )


@dataclass(frozen=True, kw_only=True)
class WarmupLinear:
    """Linear warm-up to the peak, then a line down to zero at the last step."""

    peak_lr: float = field(metadata=MAY_CHANGE)
    """Highest rate. A resumed run may lower it, as after a divergence."""
    warmup_steps: int

    def __post_init__(self):
        _check_peak(self.peak_lr)
        check_above_zero(self, "optimizer.schedule.", "warmup_steps")


@dataclass(frozen=True, kw_only=True)
class WarmupInverseSquareRoot:
    """lr(k) = peak_lr * min(k / warmup_steps, sqrt(warmup_steps / k)) at step k = 1, 2, ...

    Vaswani et al. 2017, equation 3, where the peak is 1 / sqrt(d_model warmup_steps).
    """

    peak_lr: float = field(metadata=MAY_CHANGE)
    """Highest rate. A resumed run may lower it, as after a divergence."""
    warmup_steps: int

    def __post_init__(self):
        _check_peak(self.peak_lr)
        check_above_zero(self, "optimizer.schedule.", "warmup_steps")


Schedule = (
    InverseSquareRoot | WarmupCosine | WarmupCosineInTokens | WarmupLinear | WarmupInverseSquareRoot
)
"""The learning rate of every step."""

Decays = Literal["matrices", "all"]
"""The parameters that weight decay shrinks. matrices: embeddings and kernels, but neither biases
nor norm scales; all: every parameter."""


@dataclass(frozen=True, kw_only=True)
class Adafactor:
    """Adafactor without factoring: Adam, its steps scaled by each matrix's RMS (PaLM, sec. 5)."""

    schedule: Schedule
    beta1: float = 0.9
    decay_exponent: float = 0.8
    """beta2 at step k is 1 - k^(-decay_exponent)."""
    weight_decay_exponent: float | None = 2.0
    """Every step multiplies the parameters that decay by 1 - lr^weight_decay_exponent. None: no
    parameter decays."""
    decays: Decays = "matrices"
    """The parameters that weight decay shrinks: embeddings and kernels, or all."""
    clip_norm: float | None = 1.0
    """Global gradient norm above which gradients are scaled down. None: they never are."""


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    schedule: Schedule
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    decays: Decays = "matrices"
    """The parameters that weight decay shrinks: embeddings and kernels, or all."""
    clip_norm: float | None = 1.0
    """Global gradient norm above which gradients are scaled down. None: they never are."""


@dataclass(frozen=True, kw_only=True)
class RateCorrectedAdam:
    """Adam whose bias correction multiplies the rate (Kingma & Ba 2015, end of section 2).

    At step k the rate is r = lr(k) sqrt(1 - beta2^k) / (1 - beta1^k), and a parameter p becomes
    p - r (m / (sqrt(v) + eps) + weight_decay p). Unlike in AdamW, eps is not corrected, and the
    decay is weak at first. GPT-1's released code (opt.py) has this form.
    """

    schedule: Schedule
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    decays: Decays = "matrices"
    """The parameters that weight decay shrinks: embeddings and kernels, or all."""
    clip_norm: float | None = 1.0
    """Global gradient norm above which gradients are scaled down. None: they never are."""


@dataclass(frozen=True, kw_only=True)
class UncorrectedAdam:
    """Adam without the correction of its moments' bias, with decoupled weight decay.

    A parameter p becomes p - lr (m / (sqrt(v) + eps) + weight_decay p). BERT's released code
    (optimization.py) has this form.
    """

    schedule: Schedule
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.01
    decays: Decays = "matrices"
    """The parameters that weight decay shrinks: embeddings and kernels, or all."""
    clip_norm: float | None = 1.0
    """Global gradient norm above which gradients are scaled down. None: they never are."""


Optimizer = Adafactor | AdamW | RateCorrectedAdam | UncorrectedAdam


def _check_peak(peak_lr: float) -> None:
    check(
        peak_lr > 0,
        f"optimizer.schedule.peak-lr={peak_lr} must be above zero; write for example "
        "--optimizer.schedule.peak-lr=3e-4",
    )
