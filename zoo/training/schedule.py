"""The learning rate of every step, from its config."""

from collections.abc import Callable
from typing import assert_never, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs.experiment import Experiment
from configs.parts import optimizers as c
from data.batches.sizes import BatchSizes

LearningRate = Callable[[jax.typing.ArrayLike], jax.Array]
"""The learning rate as a function of Optax's count, which is 0 at the first step k = 1."""


def make_schedule(experiment: Experiment) -> LearningRate:
    """Make the learning rate of an experiment's steps."""
    schedule, num_steps = experiment.optimizer.schedule, experiment.num_steps
    match schedule:
        case c.InverseSquareRoot(peak_lr=peak_lr, constant_steps=constant_steps):

            def inverse_square_root(count):
                return peak_lr * jnp.sqrt(constant_steps / jnp.maximum(count + 1, constant_steps))

            return inverse_square_root
        case c.WarmupCosine(peak_lr=peak, warmup_steps=warmup):
            end = max(schedule.decay_steps or num_steps, warmup + 1)
            by_step = _warmup_cosine(
                schedule.initial_lr, peak, warmup, end, schedule.final_fraction
            )
            return lambda count: jnp.asarray(by_step(count + 1))
        case c.WarmupCosineInTokens(peak_lr=peak, warmup_tokens=warmup):
            tokens = tokens_after(experiment.batch_sizes, experiment.seq_len)
            end = max(schedule.decay_tokens or experiment.num_tokens, warmup + 1)
            by_token = _warmup_cosine(0.0, peak, warmup, end, schedule.final_fraction)
            return lambda count: jnp.asarray(by_token(tokens(count + 1)))
        case c.WarmupLinear(peak_lr=peak, warmup_steps=warmup):

            def linear(count):
                k = jnp.asarray(count, jnp.float32) + 1
                left = (num_steps - k) / max(1, num_steps - warmup)
                return peak * jnp.clip(jnp.minimum(k / warmup, left), 0)

            return linear
        case c.WarmupInverseSquareRoot(peak_lr=peak, warmup_steps=warmup):

            def warmup_inverse_square_root(count):
                k = jnp.asarray(count, jnp.float32) + 1
                return peak * jnp.minimum(k / warmup, jnp.sqrt(warmup / k))

            return warmup_inverse_square_root
        case _:
            assert_never(schedule)


def _warmup_cosine(initial: float, peak: float, warmup: float, end: float, final_fraction: float):
    """Make a linear rise until `warmup`, half a cosine until `end`, and a constant after it."""
    # Optax calls them steps, but they may as well be tokens: a float is enough.
    warmup_steps, decay_steps = cast(int, warmup), cast(int, end)
    return optax.warmup_cosine_decay_schedule(
        initial, peak, warmup_steps, decay_steps, end_value=final_fraction * peak
    )


def tokens_after(sizes: BatchSizes, seq_len: int) -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """Make the number of tokens in the first k batches as a function of k, in float32."""
    # A phase beyond the largest int32 begins after the end of every run.
    first_steps = [phase.first_step for phase in sizes.phases]
    steps = np.array([step for step in first_steps if step < 2**31], np.int32)
    tokens = np.array([sizes.before(step) * seq_len for step in steps.tolist()], np.float32)
    per_step = np.array([sizes.size(step) * seq_len for step in steps.tolist()], np.float32)

    def tokens_in_batches(k):
        phase = jnp.searchsorted(steps, k, side="right") - 1
        first_step, tokens_before, batch_tokens = (
            jnp.asarray(a)[phase] for a in (steps, tokens, per_step)
        )
        return tokens_before + (k - first_step) * batch_tokens

    return tokens_in_batches
