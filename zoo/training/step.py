"""One step of training and of evaluation: pure functions, no input or output."""

import dataclasses
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int

from configs.experiment import Experiment
from models.config import ModelConfig
from models.model import Model, build
from zoo.distribution.batches import micro_batches
from zoo.distribution.sharding import TOKEN_AXES, AnyMesh, pipeline_micro_batches, ways
from zoo.training.divergence import MEASURED, Recent
from zoo.training.loss import LossSums, cross_entropy, fewest_chunks
from zoo.training.objectives import Batch, shown, states
from zoo.training.optimizer import make_optimizer
from zoo.training.rounding import cast_params, store
from zoo.training.schedule import make_schedule

Metrics = dict[str, jax.Array]
"""Scalars of one step by name. Losses and norms of gradients and logits are those of the parameters
before the step, `train/param_norm` of those after it; `train/logit_rms` is over all logits of all
tokens; `train/loss_by_position/0` to `/7` are over equal parts of the sequence, NaN if no target in
a part counts; `..._deviation` see zoo/training/divergence.py."""

MUST_BE_FINITE = ("train/loss", "train/grad_norm", "train/update_norm", "train/param_norm")
"""Metrics that are finite exactly if a step and the parameters after it are."""


ROUNDING = 2**32 - 1
"""Number of the key that rounds a step's parameters, out of reach of the keys of its dropout."""
SHOWING = 2**32 - 2
"""Number of the key that draws what a step's rows show; see `zoo.training.objectives.shown`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes."""

    step: Int[Array, ""]
    """Optimizer steps taken."""
    params: nnx.State
    opt_state: optax.OptState
    recent: Recent
    """The measurements that tell a spike, and the updates that were left out."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """The pure functions of one experiment, ready to be jitted."""

    init: Callable[[], TrainState]
    """The state of step 0, with random parameters."""
    start: Callable[[nnx.State], TrainState]
    """The state of step 0 with given parameters."""
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    """One optimizer step, and the metrics of the state before it."""
    eval_step: Callable[[nnx.State, Batch], LossSums]
    """The loss of one batch, without dropout."""
    graphdef: nnx.GraphDef
    """The model without its parameters: nnx.merge(graphdef, params) is the whole model."""


def make_steps(experiment: Experiment, mesh: AnyMesh | None = None) -> Steps:
    """Make the functions of an experiment for the devices of `mesh`; None is one device.

    `zoo.training.program.Program` jits them.
    """

    def make() -> Model:
        rngs = nnx.Rngs(params=jax.random.key(experiment.seed))
        return build(experiment.model, experiment.execution, rngs=rngs)

    graphdef, _ = nnx.split(nnx.eval_shape(make), nnx.Param)
    schedule = make_schedule(experiment)
    optimizer = make_optimizer(experiment.optimizer, schedule)
    divergence = experiment.divergence
    in_flight = 1 if mesh is None else pipeline_micro_batches(experiment, mesh.shape)

    def start(params: nnx.State) -> TrainState:
        opt_state = optimizer.init(cast_params(params, "float32"))
        params = cast_params(params, experiment.param_dtype)
        recent = Recent.start(divergence.window)
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state, recent)

    def init() -> TrainState:
        return start(nnx.state(make(), nnx.Param))

    def loss_sums(params: nnx.State, batch: Batch, dropout_key) -> tuple[jax.Array, LossSums]:
        model: Model = nnx.merge(graphdef, params)
        head, hidden, others = states(model, batch, dropout_key, in_flight)
        targets = batch["targets"]
        batch_size, length = targets.shape
        chunks = fewest_chunks(batch_size, length, _numbers_per_token(experiment.model, mesh))
        loss, sums = cross_entropy(
            head, hidden, targets, batch["weights"], experiment.z_loss, chunks
        )
        if not others:
            return loss, sums
        return loss + sum(others.values()), dataclasses.replace(sums, others=others)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # Dividing once, by the tokens of the whole global batch, makes every sum over tokens a mean
        # that accumulation, packing and sharding do not change.
        key = jax.random.fold_in(jax.random.key(experiment.seed), state.step)
        batch = shown(experiment, batch, jax.random.fold_in(key, SHOWING))
        weights = batch["weights"] / jnp.sum(batch["weights"])
        grads, means = accumulate(
            jax.grad(loss_sums, has_aux=True),
            state.params,
            batch | {"weights": weights},
            key,
            micro_batches(experiment, len(batch["inputs"])),
        )
        grads, params = (cast_params(tree, "float32") for tree in (grads, state.params))
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        params = cast(nnx.State, optax.apply_updates(params, updates))
        params = store(params, experiment.param_dtype, jax.random.fold_in(key, ROUNDING))
        metrics = {
            "train/loss": means.nats,
            "train/z_loss": experiment.z_loss * means.log_z_squared,
            "train/grad_norm": optax.tree.norm(grads),
            "train/update_norm": optax.tree.norm(updates),
            "train/param_norm": optax.tree.norm(cast_params(params, "float32")),
            "train/logit_rms": jnp.sqrt(means.logits_squared),
            "train/lr": schedule(state.step - state.recent.num_skipped),
        }
        metrics |= {f"train/{name}": loss for name, loss in means.others.items()}
        losses = means.nats_by_position / means.tokens_by_position
        metrics |= {f"train/loss_by_position/{i}": loss for i, loss in enumerate(losses)}
        measured = jnp.stack([metrics[name] for name in MEASURED])
        deviations = state.recent.deviations(measured)
        metrics |= {f"{name}_deviation": deviations[i] for i, name in enumerate(MEASURED)}
        skipped = jnp.zeros((), bool)
        if divergence.action == "skip":
            finite = [jnp.isfinite(metrics[name]) for name in MUST_BE_FINITE]
            skipped = ~jnp.all(jnp.stack(finite)) | jnp.any(deviations > divergence.deviations)
            params, opt_state = jax.tree.map(
                lambda old, new: jnp.where(skipped, old, new),
                (state.params, state.opt_state),
                (params, opt_state),
            )
            metrics["train/skipped"] = skipped
        recent = state.recent.after(measured, skipped)
        return TrainState(state.step + 1, params, opt_state, recent), metrics

    def eval_step(params: nnx.State, batch: Batch) -> LossSums:
        _, sums = loss_sums(params, shown(experiment, batch, None), None)
        return sums

    return Steps(init, start, train_step, eval_step, graphdef)


def _numbers_per_token(model: ModelConfig, mesh: AnyMesh | None) -> float:
    """Numbers that the loss needs per token and device, averaged over all tokens and devices.

    Logits are divided by rows, length and vocabulary, hidden states by rows and length only.
    """
    if mesh is None:
        return max(model.vocab_size, model.d_model)
    return max(model.vocab_size / mesh.size, model.d_model / ways(mesh, TOKEN_AXES))


def accumulate(grad_sums, params, batch: Batch, key: jax.Array, num_slices: int):
    """Sum gradients and loss sums over `num_slices` slices of a batch, computed in turn."""
    if num_slices == 1:
        return grad_sums(params, batch, key)

    def add_slice(total, scanned):
        rows, slice_key = scanned
        return jax.tree.map(jnp.add, total, grad_sums(params, rows, slice_key)), None

    # Row i goes to slice i % num_slices, so that every slice takes from every device's rows.
    slices = {
        name: jnp.moveaxis(rows.reshape(-1, num_slices, *rows.shape[1:]), 1, 0)
        for name, rows in batch.items()
    }
    keys = jax.random.split(key, num_slices)
    first = jax.tree.map(lambda x: x[0], (slices, keys))
    # In float32 even if each slice's gradients are bfloat16, so that small ones still add up.
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.float32), jax.eval_shape(grad_sums, params, *first)
    )
    total, _ = jax.lax.scan(add_slice, zeros, (slices, keys))
    return total
