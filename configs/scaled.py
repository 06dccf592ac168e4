"""The `_nano` and `_small` sizes, which are in no paper: a family's choices in a small budget.

All families share the two budgets, and the parameter counts of their `_small` models are within 5 %
of each other. Two such models therefore differ only in what sets their papers apart. They have four
layers of four heads (Jurassic-1, the shallow one, has three layers), and their widths are chosen to
make the counts about equal.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from configs.experiment import Divergence, Experiment
from configs.optimizers import InverseSquareRoot, WarmupCosine
from models.config import Execution, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The vocabulary and the training run of a scaled-down model."""

    vocab_size: int
    seq_len: int
    batch_size: int
    """Sequences per step."""
    num_steps: int
    warmup_steps: int
    """Steps before the learning rate falls."""
    eval_every: int
    """Steps between evaluations, and between checkpoints."""


NANO = Budget(
    vocab_size=512, seq_len=64, batch_size=8, num_steps=20, warmup_steps=10, eval_every=10
)
"""A run of seconds, for tests."""

SMALL = Budget(
    vocab_size=4096, seq_len=256, batch_size=4, num_steps=600, warmup_steps=30, eval_every=150
)
"""A run of minutes on a laptop's CPU. The batch is the best of a sweep with PaLM's recipe: in such
a short run, more steps help more than larger batches."""


def scaled_down(
    published: Experiment, model: ModelConfig, budget: Budget, *, peak_lr: float
) -> Experiment:
    """Return a run of `model` with the recipe of `published`, in another budget.

    The schedule keeps its shape; its peak is `peak_lr`, and its corners are moved to fit the run.
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
        divergence=Divergence(),
        num_steps=budget.num_steps,
        batch_tokens=budget.batch_size * budget.seq_len,
        seq_len=budget.seq_len,
        eval_every=budget.eval_every,
        save_every=budget.eval_every,
    )
