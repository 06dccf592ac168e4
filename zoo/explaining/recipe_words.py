"""A training run in words and equations: its batches, its learning rate, its optimizer."""

import math
from typing import assert_never

from configs.experiment import Experiment
from configs.parts import optimizers as c
from configs.parts.batch_ramps import LinearRamp

LETTERS = (
    "k is the number of the step, from 1; lr the learning rate; g the gradient of the parameter p, "
    "after clipping; m and v are its moments, 0 before the first step."
)
"""The letters of the equations."""

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_MANY_PHASES = 4
"""A batch of more sizes than this is told by its first and last one."""


def short(number: float) -> str:
    """Return a count with three digits and its unit: 776B, 1.4T, 52.4B, 512."""
    for unit, letter in _UNITS:
        if number >= unit * 0.9995:
            return f"{number / unit:.3g}{letter}"
    return f"{number:.3g}"


def batches(run: Experiment) -> str:
    """Return the sizes of the batches and the steps at which they change."""
    first, *later = run.batch_sizes.phases
    start = f"{first.size:,} sequences of {run.seq_len:,} tokens"
    if not later:
        return f"{start} in every step: {short(run.batch_tokens)} tokens"
    if len(later) < _MANY_PHASES:
        changes = [f"{phase.size:,} after {_when(run, phase.first_step)}" for phase in later]
        return f"{start}, {', '.join(changes)}"
    grows = "growing"
    if isinstance(run.batch_ramp, LinearRamp):
        grows += f" by {run.batch_ramp.increment_tokens // run.seq_len} at a time"
    last = later[-1]
    return f"{start}, {grows} to {last.size:,} after {_when(run, last.first_step)}"


def learning_rate(run: Experiment, last_rate: float) -> str:
    """Return the rates in words; `last_rate` is the one of the last step."""
    schedule = run.optimizer.schedule
    at_end = f"{last_rate:.3g} at the end of the run"
    match schedule:
        case c.InverseSquareRoot(peak_lr=peak, constant_steps=steps):
            return (
                f"{peak:g} for {_when(run, steps)}, then {peak:g} sqrt({steps:,} / k) at step k: "
                f"{at_end}"
            )
        case c.WarmupCosine(warmup_steps=warmup, decay_steps=decay):
            rise = f"a line from {schedule.initial_lr:g} to {schedule.peak_lr:g} over "
            rise += _when(run, warmup)
            end, is_last = decay or run.num_steps, decay in (None, run.num_steps)
            until = "the last step" if is_last else _when(run, end)
        case c.WarmupLinear(peak_lr=peak, warmup_steps=warmup):
            rise = f"a line from 0 to {peak:g} over {_when(run, warmup)}"
            return f"{rise}, then a line down to 0 at the last step"
        case c.WarmupInverseSquareRoot(peak_lr=peak, warmup_steps=warmup):
            rise = f"a line from 0 to {peak:g} over {_when(run, warmup)}"
            return f"{rise}, then {peak:g} sqrt({warmup:,} / k) at step k: {at_end}"
        case c.WarmupCosineInTokens(warmup_tokens=warmup, decay_tokens=decay):
            rise = f"a line from 0 to {schedule.peak_lr:g} over {_at(run, warmup)}"
            is_last = decay is None
            until = "the last token" if decay is None else _at(run, decay)
        case _:
            assert_never(schedule)
    low = f"{schedule.final_fraction * schedule.peak_lr:g}"
    fall = f"half a cosine down to {low} at {until}"
    if is_last:
        return f"{rise}, then {fall}"
    end_step = _end_of_cosine(run, schedule)
    after = f", then constant: {at_end}" if end_step < run.num_steps else f", not reached: {at_end}"
    return f"{rise}, then {fall}{after}"


def update(run: Experiment) -> str:
    """Return the optimizer's step as equations, a line each."""
    o = run.optimizer
    clip = "g = gradient"
    if o.clip_norm is not None:
        clip += f" min(1, {o.clip_norm:g} / norm of all gradients)"
    match o:
        case c.Adafactor():
            lines = [
                f"beta2 = 1 - k^-{o.decay_exponent:g}; v = beta2 v + (1 - beta2) g^2",
                f"m = {o.beta1:g} m + {1 - o.beta1:g} lr max(RMS(p), 0.001) g / sqrt(v)",
                "p = p - m"
                if o.weight_decay_exponent is None
                else f"p = p - m - lr^{o.weight_decay_exponent:g} p",
            ]
        case c.AdamW():
            root = f"sqrt(v / (1 - {o.beta2:g}^k)) + {o.eps:g}"
            lines = [
                _moments(o),
                f"p = p - lr (m / (1 - {o.beta1:g}^k) / ({root}){_decay(o)})",
            ]
        case c.RateCorrectedAdam():
            corrected = f"lr sqrt(1 - {o.beta2:g}^k) / (1 - {o.beta1:g}^k)"
            lines = [
                _moments(o),
                f"p = p - {corrected} (m / (sqrt(v) + {o.eps:g}){_decay(o)})",
            ]
        case c.UncorrectedAdam():
            lines = [_moments(o), f"p = p - lr (m / (sqrt(v) + {o.eps:g}){_decay(o)})"]
        case _:
            assert_never(o)
    has_decay = (
        o.weight_decay_exponent is not None if isinstance(o, c.Adafactor) else o.weight_decay != 0
    )
    if o.decays == "matrices" and has_decay:
        lines.append("The last term, weight decay, is left out for biases and norm scales.")
    return "\n".join([clip, *lines])


_Adam = c.AdamW | c.RateCorrectedAdam | c.UncorrectedAdam


def _moments(adam: _Adam) -> str:
    b1, b2 = adam.beta1, adam.beta2
    return f"m = {b1:g} m + {1 - b1:g} g; v = {b2:g} v + {1 - b2:g} g^2"


def _decay(adam: _Adam) -> str:
    return f" + {adam.weight_decay:g} p" if adam.weight_decay else ""


def round_numbers(largest: float) -> list[float]:
    """Return 0 and some round numbers at even distances up to `largest`."""
    unit = 10 ** math.floor(math.log10(largest))
    distance = next(d for d in (unit / 5, unit / 2, unit, 2 * unit) if largest / d <= 5)
    return [i * distance for i in range(math.floor(largest / distance) + 1)]


def _when(run: Experiment, num_steps: int) -> str:
    """Return a number of steps, and the tokens that they read."""
    tokens = short(run.batch_sizes.before(num_steps) * run.seq_len)
    return f"{num_steps:,} steps ({tokens} tokens)"


def _at(run: Experiment, tokens: float) -> str:
    """Return a number of tokens, and the steps that read them."""
    return f"{short(tokens)} tokens ({run.batch_sizes.steps(tokens / run.seq_len):,} steps)"


def _end_of_cosine(run: Experiment, schedule: c.WarmupCosine | c.WarmupCosineInTokens) -> int:
    match schedule:
        case c.WarmupCosine(decay_steps=decay):
            return decay or run.num_steps
        case c.WarmupCosineInTokens(decay_tokens=decay):
            return run.batch_sizes.steps((decay or run.num_tokens) / run.seq_len)
        case _:
            assert_never(schedule)
