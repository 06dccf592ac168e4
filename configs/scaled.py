"""The `_nano` and `_small` sizes, which are in no paper: a family's choices in a small budget.

All families share the two budgets, and the parameter counts of their `_small` models are within 5 %
of each other. Two such models differ in all that their papers choose, the optimizer and the
initialisation included, and in their peak learning rates, each the best of a sweep with one seed.
They have four layers of four heads (Jurassic-1, the shallow one, has three layers), and their
widths are chosen to make the counts about equal.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from configs.experiment import Divergence, Experiment
from configs.parts.batch_ramps import LinearRamp, SteppedRamp
from configs.parts.objectives import Objective
from configs.parts.optimizers import (
    InverseSquareRoot,
    Schedule,
    WarmupCosine,
    WarmupCosineInTokens,
    WarmupInverseSquareRoot,
    WarmupLinear,
)
from models.config import ModelConfig
from models.execution import Execution


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The vocabulary and the training run of a scaled-down model."""

    vocab_size: int
    seq_len: int
    batch_size: int
    """Sequences per step; if the batch grows, of the largest."""
    smallest_batch: int
    """Sequences of the smallest batch from which a batch grows."""
    num_tokens: int
    """Tokens of the whole run."""
    warmup_steps: int
    """Full batches before the learning rate falls."""
    eval_every: int
    """Steps between evaluations, and between checkpoints."""


NANO = Budget(
    vocab_size=512,
    seq_len=64,
    batch_size=8,
    smallest_batch=8,
    num_tokens=20 * 8 * 64,
    warmup_steps=10,
    eval_every=10,
)
"""A run of seconds, for tests, with batches of one size."""

SMALL = Budget(
    vocab_size=4096,
    seq_len=256,
    batch_size=4,
    smallest_batch=1,
    num_tokens=600 * 4 * 256,
    warmup_steps=30,
    eval_every=150,
)
"""A run of minutes on a laptop's CPU. The batch is the best of a sweep with PaLM's recipe: in such
a short run, more steps help more than larger batches.

Of the nine models only PaLM's beats xz -9 in this budget. The recipe decides it more than the
architecture: LLaMA's with PaLM's recipe was level with PaLM's own after 300 steps. Adam moves each
weight by about the peak at a step, however small the weights are at the start; Adafactor's steps
grow with them, and PaLM's embeddings start at 1. Half the batch and twice the steps do not help:
llama_small then reaches 1.833 bits per byte, and 1.811 as it is."""


def scaled_down(
    published: Experiment,
    model: ModelConfig,
    budget: Budget,
    *,
    peak_lr: float,
    objective: Objective | None = None,
    vocabulary_size: int | None = None,
) -> Experiment:
    """Return a run of `model` with the recipe of `published`, in another budget.

    The learning rate and the batch change after the same share of the run as the paper's. The peak
    is `peak_lr`, and the warm-up is the budget's: the paper's would last for less than a step. The
    batch grows from at least the budget's smallest one. The execution and the reaction to a
    diverging step are the defaults: so short a run has no use for a rewind.

    Args:
      objective: one whose marks are among the ids of the budget; None: that of `published`.
      vocabulary_size: tokens of the vocabulary, which end before the marks; None: there are none.
    """
    run = replace(
        published,
        model=replace(model, vocab_size=budget.vocab_size, context_length=budget.seq_len),
        objective=published.objective if objective is None else objective,
        data=replace(published.data, vocabulary_size=vocabulary_size),
        execution=Execution(),
        divergence=Divergence(),
        num_steps=1,
        batch_tokens=budget.batch_size * budget.seq_len,
        batch_ramp=_scaled_ramp(published, budget),
        seq_len=budget.seq_len,
        eval_every=budget.eval_every,
        save_every=budget.eval_every,
    ).lasting(budget.num_tokens)
    schedule = _scaled_schedule(published, run, budget, peak_lr)
    return replace(run, optimizer=replace(published.optimizer, schedule=schedule))


def _scaled_ramp(published: Experiment, budget: Budget) -> SteppedRamp | LinearRamp | None:
    """Return the ramp over the same share of the run; None if all batches would be equal."""
    scale = budget.num_tokens / published.num_tokens
    smallest = budget.smallest_batch / budget.batch_size
    if smallest == 1:
        return None
    match published.batch_ramp:
        case None:
            return None
        case SteppedRamp(fractions=fractions, until_tokens=until_tokens):
            return SteppedRamp(
                fractions=tuple(max(smallest, fraction) for fraction in fractions),
                until_tokens=tuple(scale * tokens for tokens in until_tokens),
            )
        case LinearRamp() as ramp:
            fraction = max(smallest, ramp.initial_tokens / published.batch_tokens)
            increment = max(smallest, ramp.increment_tokens / published.batch_tokens)
            return LinearRamp(
                initial_tokens=round(fraction * budget.batch_size) * budget.seq_len,
                increment_tokens=round(increment * budget.batch_size) * budget.seq_len,
                ramp_tokens=scale * ramp.ramp_tokens,
            )
        case _:
            assert_never(published.batch_ramp)


def _scaled_schedule(
    published: Experiment, run: Experiment, budget: Budget, peak_lr: float
) -> Schedule:
    """Return the schedule with the peak and warm-up of the run, and all other corners in place."""
    schedule = published.optimizer.schedule
    match schedule:
        case InverseSquareRoot():
            return InverseSquareRoot(peak_lr=peak_lr, constant_steps=budget.warmup_steps)
        case WarmupLinear() | WarmupInverseSquareRoot():
            return replace(schedule, peak_lr=peak_lr, warmup_steps=budget.warmup_steps)
        case WarmupCosine(decay_steps=decay_steps):
            share = None if decay_steps is None else decay_steps / published.num_steps
            return replace(
                schedule,
                initial_lr=schedule.initial_lr / schedule.peak_lr * peak_lr,
                peak_lr=peak_lr,
                warmup_steps=budget.warmup_steps,
                decay_steps=None if share is None else round(share * run.num_steps),
            )
        case WarmupCosineInTokens(decay_tokens=decay_tokens):
            share = None if decay_tokens is None else decay_tokens / published.num_tokens
            return replace(
                schedule,
                peak_lr=peak_lr,
                warmup_tokens=budget.warmup_steps * run.batch_tokens,
                decay_tokens=None if share is None else share * run.num_tokens,
            )
        case _:
            assert_never(schedule)
