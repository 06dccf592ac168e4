"""Sizes that no paper has: a family's choices and recipe in a laptop's budget.

All families share the two budgets, and their `_small` models have parameter counts within 5 % of
each other, so that what sets two of them apart is what sets the papers apart. They have four
layers (only Jurassic-1, the shallow one, three) of four heads, and a width that brings the count
to the others'.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from configs.experiment import Experiment, InverseSquareRoot, WarmupCosine
from models.config import Execution, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much text a scaled-down model sees, and in what pieces."""

    vocab_size: int
    seq_len: int
    batch_size: int
    """Sequences per step."""
    num_steps: int
    warmup_steps: int
    """Steps before the learning rate falls."""
    eval_every: int


NANO = Budget(
    vocab_size=512, seq_len=64, batch_size=8, num_steps=20, warmup_steps=10, eval_every=10
)
"""For tests: seconds."""

SMALL = Budget(
    vocab_size=4096, seq_len=256, batch_size=4, num_steps=600, warmup_steps=30, eval_every=150
)
"""For a laptop's CPU: minutes. The batch is the best of a sweep with PaLM's recipe: so short a run
wants more steps rather than bigger ones."""


def scaled_down(
    published: Experiment, model: ModelConfig, budget: Budget, *, peak_lr: float
) -> Experiment:
    """`model` trained with the recipe of `published` in another budget, at another peak.

    The shape of the schedule stays, with its corners moved to fit the run.
    """
    match published.optimizer.schedule:
        case InverseSquareRoot():
            schedule = InverseSquareRoot(peak_lr=peak_lr, constant_steps=budget.warmup_steps)
        case WarmupCosine(final_fraction=final_fraction):
            schedule = WarmupCosine(
                peak_lr=peak_lr, warmup_steps=budget.warmup_steps, final_fraction=final_fraction
            )
        case _:
            assert_never(published.optimizer.schedule)
    return replace(
        published,
        model=replace(model, vocab_size=budget.vocab_size, context_length=budget.seq_len),
        optimizer=replace(published.optimizer, schedule=schedule),
        execution=Execution(),
        num_steps=budget.num_steps,
        batch_tokens=budget.batch_size * budget.seq_len,
        seq_len=budget.seq_len,
        eval_every=budget.eval_every,
        save_every=budget.eval_every,
    )
