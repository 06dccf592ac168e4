"""Learning-rate schedules and optimizers, as plain data. Standard library only."""

from dataclasses import dataclass, field

from data.config import MAY_CHANGE
from models.config import check, check_above_zero


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot:
    """lr(k) = peak_lr * sqrt(constant_steps / max(k, constant_steps)) at step k = 1, 2, ...

    With peak_lr 1e-2 and constant_steps 10,000 this is PaLM's schedule: 1e-2, then 1/sqrt(k).
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
class Adafactor:
    """Adafactor without factoring: Adam, its steps scaled by each matrix's RMS (PaLM, sec. 5)."""

    schedule: InverseSquareRoot | WarmupCosine
    beta1: float = 0.9
    decay_exponent: float = 0.8
    """beta2 at step k is 1 - k^(-decay_exponent)."""
    weight_decay_exponent: float = 2.0
    """Every step multiplies each matrix by 1 - lr^weight_decay_exponent."""
    clip_norm: float = 1.0
    """Global gradient norm above which gradients are scaled down."""


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay on matrices (Loshchilov & Hutter 2019)."""

    schedule: InverseSquareRoot | WarmupCosine
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    """Global gradient norm above which gradients are scaled down."""


def _check_peak(peak_lr: float) -> None:
    check(
        peak_lr > 0,
        f"optimizer.schedule.peak-lr={peak_lr} must be above zero; write for example "
        "--optimizer.schedule.peak-lr=3e-4",
    )
