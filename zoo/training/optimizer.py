"""An optimizer from its config: the decay mask and one `optax.chain`."""

from typing import assert_never

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from configs import optimizers as c
from zoo.training.schedule import LearningRate


def make_optimizer(
    optimizer: c.Adafactor | c.AdamW, schedule: LearningRate
) -> optax.GradientTransformation:
    """Make the transformation of gradients into updates, at the learning rate of `schedule`."""
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
    return transformation


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
