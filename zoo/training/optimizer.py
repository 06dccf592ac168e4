"""An optimizer from its config: schedules, the decay mask, one `optax.chain`."""

from collections.abc import Callable
from typing import assert_never

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from configs import optimizers as c

Schedule = Callable[[jax.typing.ArrayLike], jax.Array]


def make_schedule(schedule: c.InverseSquareRoot | c.WarmupCosine, num_steps: int) -> Schedule:
    """Make the learning rate as a function of Optax's count, which is 0 at the first step k = 1."""
    match schedule:
        case c.InverseSquareRoot(peak_lr=peak_lr, constant_steps=constant_steps):

            def inverse_square_root(count):
                return peak_lr * jnp.sqrt(constant_steps / jnp.maximum(count + 1, constant_steps))

            return inverse_square_root
        case c.WarmupCosine(peak_lr=peak, warmup_steps=warmup):
            warmup_cosine = optax.warmup_cosine_decay_schedule(
                schedule.initial_lr,
                peak,
                warmup,
                max(schedule.decay_steps or num_steps, warmup + 1),
                end_value=schedule.final_fraction * peak,
            )
            return lambda count: jnp.asarray(warmup_cosine(count + 1))
        case _:
            assert_never(schedule)


def make_optimizer(
    optimizer: c.Adafactor | c.AdamW, num_steps: int
) -> tuple[optax.GradientTransformation, Schedule]:
    """Make the transformation of gradients into updates, and its learning rate for the logs."""
    schedule = make_schedule(optimizer.schedule, num_steps)
    match optimizer:
        case c.Adafactor(weight_decay_exponent=exponent):
            transformation = optax.chain(
                clip_by_global_norm(optimizer.clip_norm),
                # Optax's decay_rate is the exponent of beta2 = 1 - k^-decay_rate, not a rate.
                optax.scale_by_factored_rms(
                    factored=False, decay_rate=optimizer.decay_exponent, epsilon=1e-30
                ),
                optax.scale_by_learning_rate(schedule, flip_sign=False),
                scale_by_param_rms(),
                optax.ema(optimizer.beta1, debias=False),
                optax.add_decayed_weights(lambda count: schedule(count) ** exponent, mask=matrices),
                optax.scale(-1.0),
            )
        case c.AdamW():
            transformation = optax.chain(
                clip_by_global_norm(optimizer.clip_norm),
                optax.adamw(
                    schedule,
                    b1=optimizer.beta1,
                    b2=optimizer.beta2,
                    eps=optimizer.eps,
                    weight_decay=optimizer.weight_decay,
                    mask=matrices,
                ),
            )
        case _:
            assert_never(optimizer)
    return transformation, schedule


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Multiply all gradients by min(1, max_norm / their global norm).

    `optax.clip_by_global_norm` selects between two trees, which costs a pass over all gradients. A
    factor is fused into the optimizer's own pass.
    """

    def update(updates, params):
        factor = jnp.minimum(1.0, max_norm / optax.tree.norm(updates))
        return jax.tree.map(lambda gradient: gradient * factor, updates)

    return optax.stateless(update)


def scale_by_param_rms(floor: float = 1e-3) -> optax.GradientTransformation:
    """Multiply each update by max(RMS(parameter), floor), layer by layer in a stack of layers.

    Adafactor's relative step (Shazeer & Stern 2018, arXiv 1804.04235, section 8; floor eps_2).
    `optax.scale_by_param_block_rms` would take one RMS over all the stacked layers.
    """

    def scale(update: nnx.Variable, param: nnx.Variable) -> nnx.Variable:
        value = param.get_value()
        own_axes = [i for i, axis in enumerate(logical_axes(param)) if axis != "layers"]
        rms = jnp.sqrt(jnp.mean(value**2, axis=own_axes, keepdims=True))
        return update.replace(update.get_value() * jnp.maximum(rms, floor))

    def update(updates, params):
        return jax.tree.map(scale, updates, params, is_leaf=_is_variable)

    return optax.stateless(update)


def matrices(params: nnx.State):
    """Return a mask of the parameters that weight decay applies to: embeddings and kernels.

    Logical axes, not ranks, exclude biases and norm scales: in a stack of layers a bias has rank 2
    or 3. A matrix of the zoo maps to or from the residual stream, `embed`, along at
    least one other axis.
    """

    def is_matrix(param: nnx.Variable) -> bool:
        axes = set(logical_axes(param)) - {"layers"}
        return "embed" in axes and len(axes) > 1

    return jax.tree.map(is_matrix, params, is_leaf=_is_variable)


def logical_axes(param: nnx.Variable) -> tuple[str, ...]:
    """The logical names of a parameter's axes."""
    return tuple(param.get_metadata("out_sharding"))


def _is_variable(x) -> bool:
    return isinstance(x, nnx.Variable)
