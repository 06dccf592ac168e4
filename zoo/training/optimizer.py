"""An optimizer from its config: the decay mask and one `optax.chain`."""

import math
from typing import assert_never

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from configs.parts import optimizers as c
from zoo.training.schedule import LearningRate


def make_optimizer(optimizer: c.Optimizer, schedule: LearningRate) -> optax.GradientTransformation:
    """Make the transformation of gradients into updates, at the learning rate of `schedule`."""
    mask = decay_mask(optimizer.decays)
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
                optax.identity()
                if exponent is None
                else optax.add_decayed_weights(
                    lambda count: schedule(count) ** exponent, mask=mask
                ),
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
                    mask=mask,
                ),
            )
        case c.RateCorrectedAdam():
            transformation = optax.chain(
                clip_by_global_norm(optimizer.clip_norm),
                scale_by_uncorrected_adam(optimizer.beta1, optimizer.beta2, optimizer.eps),
                optax.add_decayed_weights(optimizer.weight_decay, mask=mask),
                optax.scale_by_learning_rate(
                    lambda count: schedule(count) * bias_correction(optimizer, count)
                ),
            )
        case c.UncorrectedAdam():
            transformation = optax.chain(
                clip_by_global_norm(optimizer.clip_norm),
                scale_by_uncorrected_adam(optimizer.beta1, optimizer.beta2, optimizer.eps),
                optax.add_decayed_weights(optimizer.weight_decay, mask=mask),
                optax.scale_by_learning_rate(schedule),
            )
        case _:
            assert_never(optimizer)
    return transformation


def clip_by_global_norm(max_norm: float | None) -> optax.GradientTransformation:
    """Multiply all gradients by min(1, max_norm / their global norm); None leaves them.

    `optax.clip_by_global_norm` selects between two trees, which costs a pass over all gradients. A
    factor is fused into the optimizer's own pass.
    """

    if max_norm is None:
        return optax.identity()

    def update(updates, params):
        factor = jnp.minimum(1.0, max_norm / optax.tree.norm(updates))
        return jax.tree.map(lambda gradient: gradient * factor, updates)

    return optax.stateless(update)


def scale_by_uncorrected_adam(
    beta1: float, beta2: float, eps: float
) -> optax.GradientTransformation:
    """Turn gradients into m / (sqrt(v) + eps), the moments as they are, biased towards 0."""

    def init(params):
        zeros = optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates, state, params=None):
        mu = optax.tree.update_moment(updates, state.mu, beta1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, beta2, 2)
        steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return steps, optax.ScaleByAdamState(state.count + 1, mu, nu)

    return optax.GradientTransformation(init, update)


def bias_correction(adam: c.RateCorrectedAdam, count: jax.typing.ArrayLike) -> jax.Array:
    """Return sqrt(1 - beta2^k) / (1 - beta1^k), where the step k is Optax's count plus 1."""
    k = jnp.asarray(count, jnp.float32) + 1
    # expm1 keeps the digits that 1 - beta2^k loses in float32 while it is small.
    first, second = (
        -jnp.expm1(k * (math.log(beta) if beta else -math.inf)) for beta in (adam.beta1, adam.beta2)
    )
    return jnp.sqrt(second) / first


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


def decay_mask(decays: c.Decays):
    """Return the mask of the parameters that decay; None is all."""
    match decays:
        case "matrices":
            return matrices
        case "all":
            return None
        case _:
            assert_never(decays)


def matrices(params: nnx.State):
    """Return a mask of the matrices: embeddings and kernels, but neither biases nor norm scales.

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
