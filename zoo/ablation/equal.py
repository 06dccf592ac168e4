"""Variants with the same budget: the feed-forward width makes up for what a choice costs."""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from configs.experiment import Experiment
from configs.studies.study import Equal
from models.config import ConfigError, ModelConfig
from models.flops import forward_flops_per_token
from zoo.ablation.choices import D_FF_STEP
from zoo.scaling_laws.sizes import num_params

TOLERANCE = 0.01
"""Largest distance from the budget, relative to it."""


def train_flops_per_token(model: ModelConfig, seq_len: int) -> int:
    """Return the FLOPs of all matrix products of a training step per token, all keys charged."""
    return 3 * forward_flops_per_token(model, seq_len)


def with_equal_budget(run: Experiment, base: Experiment, equal: Equal, name: str) -> Experiment:
    """Return the run with the feed-forward width that gives it the budget of `base`.

    Raises ConfigError if no width comes within TOLERANCE. `name`: the variant, for the message.
    """
    match equal:
        case "tokens":
            return run
        case "flops":
            return _adjusted(run, base, "flops", _train_flops(run), name)
        case "params":
            return _adjusted(run, base, "params", num_params, name)
        case _:
            assert_never(equal)


def _train_flops(run: Experiment) -> Callable[[ModelConfig], int]:
    return lambda model: train_flops_per_token(model, run.seq_len)


def _adjusted(
    run: Experiment, base: Experiment, equal: Equal, cost: Callable[[ModelConfig], int], name: str
) -> Experiment:
    """Return the run with the width at which its cost, linear in it, is that of `base`."""
    budget, d_ff = cost(base.model), run.model.feed_forward.d_ff
    slope = cost(_of_width(run.model, d_ff + 1)) - cost(run.model)
    exact = d_ff + (budget - cost(run.model)) / slope
    for step in (D_FF_STEP, 1):
        model = _of_width(run.model, max(1, step * round(exact / step)))
        if abs(cost(model) / budget - 1) <= TOLERANCE:
            return replace(run, model=model)
    raise ConfigError(
        f"--equal={equal} cannot be held by `{name}`: its feed-forward layers would need a width "
        f"of {exact:.0f}; write --equal=tokens, a larger --d-model, or leave the choice out of "
        "--choices"
    )


def _of_width(model: ModelConfig, d_ff: int) -> ModelConfig:
    return replace(model, feed_forward=replace(model.feed_forward, d_ff=d_ff))
