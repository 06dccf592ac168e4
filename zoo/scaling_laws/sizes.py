"""Models of any size with a family's own proportions, and the peak learning rate of each."""

from bisect import bisect_left
from dataclasses import replace
from typing import assert_never

import configs
from configs.experiment import Experiment
from configs.parts.optimizers import Adafactor, AdamW, RateCorrectedAdam, UncorrectedAdam
from configs.scaled import Budget, scaled_down
from data.config import Source
from models.config import ConfigError, ModelConfig
from models.parameters import params_by_part

WIDTH_STEP = 8
"""Widths are multiples of this, so that every head has an even width."""
WIDTHS = range(16, 4097, WIDTH_STEP)
LR_EXPONENT = -0.75
"""The peak of the Adam families falls with the width as d_model^-0.75, the slope of GPT-3's Table
2.1 from 125M to 175B parameters."""


WARMUP_SHARE = 0.05
"""Share of the steps before the learning rate falls, as in the `_small` models: 30 of 600."""


def smallest_of(family: str) -> Experiment:
    """Return the family's `_small` experiment. Raises ConfigError for an unknown family."""
    if family not in configs.FAMILIES:
        raise ConfigError(
            f"--family={family} is not in the zoo; write one of {', '.join(configs.FAMILIES)}"
        )
    return configs.get(f"{family}_small")


def of_width(small: ModelConfig, d_model: int) -> ModelConfig:
    """Return a model of this width with the shape of `small`.

    The widths of heads and feed-forward layers and the number of layers keep their ratio to
    d_model; the number of heads stays.
    """
    scale = d_model / small.d_model
    period = len(small.attention.windows)
    num_layers = period * max(1, round(scale * small.num_layers / period))
    head_dim = max(2, 2 * round(scale * small.attention.head_dim / 2))
    d_ff = max(WIDTH_STEP, WIDTH_STEP * round(scale * small.feed_forward.d_ff / WIDTH_STEP))
    return replace(
        small,
        num_layers=num_layers,
        d_model=d_model,
        attention=replace(small.attention, head_dim=head_dim),
        feed_forward=replace(small.feed_forward, d_ff=d_ff),
    )


def num_params(model: ModelConfig) -> int:
    """Return the exact number of parameters, without JAX."""
    return sum(params_by_part(model).values())


def nearest_model(small: ModelConfig, params: float) -> ModelConfig:
    """Return the model of the family's shape whose parameters come nearest to `params`."""
    first = bisect_left(WIDTHS, params, key=lambda d_model: num_params(of_width(small, d_model)))
    near = WIDTHS[max(0, first - 1) : first + 1] or WIDTHS[-1:]
    models = (of_width(small, d_model) for d_model in near)
    return min(models, key=lambda model: abs(num_params(model) / params - 1))


def peak_lr(small: Experiment, d_model: int) -> float:
    """Return the peak of a model of this width: LR_EXPONENT's for Adam, the same for Adafactor.

    Adafactor's steps are relative to the parameters; PaLM's three sizes share their peak.
    """
    peak = small.optimizer.schedule.peak_lr
    match small.optimizer:
        case Adafactor():
            return peak
        case AdamW() | RateCorrectedAdam() | UncorrectedAdam():
            return peak * (d_model / small.model.d_model) ** LR_EXPONENT
        case _:
            assert_never(small.optimizer)


def experiment(
    small: Experiment,
    model: ModelConfig,
    num_tokens: float,
    batch_size: int,
    seq_len: int,
    source: Source,
) -> Experiment:
    """Return the family's recipe for `model` over `num_tokens`: its last step evaluates and saves.

    All batches have one size: budgets of so few tokens leave no room for growth. The warm-up keeps
    its share of the run.
    """
    num_steps = max(1, round(num_tokens / (batch_size * seq_len)))
    budget = Budget(
        vocab_size=model.vocab_size,
        seq_len=seq_len,
        batch_size=batch_size,
        smallest_batch=batch_size,
        num_tokens=num_steps * batch_size * seq_len,
        warmup_steps=max(1, round(num_steps * WARMUP_SHARE)),
        eval_every=num_steps,
    )
    run = scaled_down(small, model, budget, peak_lr=peak_lr(small, model.d_model))
    data = replace(run.data, source=source)
    return replace(run, data=data, save_every=max(1, num_steps // 4), log_every=10, keep=1)
