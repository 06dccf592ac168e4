"""The training step: accumulation, precision, learning."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from configs.experiment import Experiment
from models.execution import Execution
from models.positions import Positions
from tests.models import experiments, samples
from tests.models.experiments import PALM
from zoo.training.schedule import make_schedule
from zoo.training.step import TrainState, make_steps


@functools.cache
def run(experiment: Experiment, num_steps: int) -> tuple[list[TrainState], list[dict[str, float]]]:
    """States and metrics of steps on one batch, seen again and again."""
    steps = make_steps(experiment)
    train_step = jax.jit(steps.train_step)
    states = [initial_state()]
    metrics = []
    for _ in range(num_steps):
        state, values = train_step(states[-1], experiments.packed_batch(experiment))
        states.append(state)
        metrics.append({name: float(value) for name, value in values.items()})
    return states, metrics


@functools.cache
def initial_state(seed: int = 0) -> TrainState:
    return jax.jit(make_steps(dataclasses.replace(PALM, seed=seed)).init)()


def test_loss_decreases_on_a_batch_seen_again_and_again():
    states, metrics = run(PALM, 20)
    assert [int(state.step) for state in states] == list(range(21))
    assert metrics[-1]["train/loss"] < metrics[0]["train/loss"] - 1


def test_metrics_are_those_of_the_state_before_the_step():
    (before, after, *_), metrics = run(PALM, 20)
    graphdef = make_steps(PALM).graphdef
    batch = experiments.packed_batch(PALM)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def objective(params):
        positions = Positions(jnp.asarray(batch["positions"]), jnp.asarray(batch["segment_ids"]))
        hidden, _ = nnx.merge(graphdef, params)(jnp.asarray(batch["inputs"]), positions)
        logits = nnx.merge(graphdef, params).logits(hidden)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        loss = jnp.average(nats, weights=batch["weights"])
        log_z = jax.nn.logsumexp(logits, axis=-1)
        z_loss = PALM.z_loss * jnp.average(log_z**2, weights=batch["weights"])
        weighted = batch["weights"] * nats
        by_position = weighted.reshape(len(nats), 8, -1).sum(axis=(0, 2))
        by_position /= batch["weights"].reshape(len(nats), 8, -1).sum(axis=(0, 2))
        logit_rms = jnp.sqrt(jnp.average(jnp.mean(logits**2, axis=-1), weights=batch["weights"]))
        return loss + z_loss, (loss, z_loss, logit_rms, by_position)

    gradient, (loss, z_loss, logit_rms, by_position) = objective(before.params)
    updates = jax.tree.map(jnp.subtract, after.params, before.params)
    schedule = make_schedule(PALM)
    expected = {
        "train/loss": float(loss),
        "train/z_loss": float(z_loss),
        "train/grad_norm": float(optax.tree.norm(gradient)),
        "train/lr": float(schedule(0)),
        "train/update_norm": float(optax.tree.norm(updates)),
        "train/param_norm": float(optax.tree.norm(after.params)),
        "train/logit_rms": float(logit_rms),
        "train/loss_deviation": 0.0,
        "train/update_norm_deviation": 0.0,
    } | {f"train/loss_by_position/{i}": float(nats) for i, nats in enumerate(by_position)}
    assert metrics[0] == pytest.approx(expected, rel=1e-4)
    rates = [values["train/lr"] for values in metrics]
    assert rates == pytest.approx([float(schedule(count)) for count in range(20)])
    assert rates[0] > rates[-1]


def test_the_state_keeps_its_types_so_that_the_step_is_compiled_once():
    steps = make_steps(PALM)
    before = jax.eval_shape(steps.init)
    after, _ = jax.eval_shape(steps.train_step, before, experiments.packed_batch(PALM))

    def types(state: TrainState) -> dict[str, tuple]:
        return {
            jax.tree_util.keystr(path): (leaf.shape, leaf.dtype, leaf.weak_type)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        }

    assert types(before) == types(after)


def test_accumulation_over_uneven_slices_is_the_big_batch():
    experiment = dataclasses.replace(PALM, micro_batches=4)
    weights = experiments.packed_batch(experiment)["weights"]
    tokens_of_slices = weights.reshape(-1, 4, experiment.seq_len).sum(axis=(0, 2))
    assert len(set(tokens_of_slices)) > 1

    (first, whole, *_), whole_metrics = run(PALM, 20)
    (_, sliced), metrics = run(experiment, 1)
    assert metrics[0] == pytest.approx(whole_metrics[0], rel=1e-5)
    before, theirs, ours = (samples.to_numpy(s.params) for s in (first, whole, sliced))
    for name in theirs:
        moved = np.abs(theirs[name] - before[name]).max()
        assert moved > 0
        # Adafactor's first step has the sign of the gradient, and where that is 0 it is noise.
        differs = np.abs(ours[name] - theirs[name]) > 1e-3 * moved
        assert differs.mean() < 0.01, name


def test_bfloat16_keeps_parameters_moments_and_metrics_in_float32():
    experiment = dataclasses.replace(PALM, execution=Execution(dtype="bfloat16"))
    states, metrics = run(experiment, 3)
    floating = {leaf.dtype for leaf in jax.tree.leaves(states[-1]) if leaf.dtype != jnp.int32}
    assert floating == {jnp.dtype("float32")}
    for ours, theirs in zip(metrics, run(PALM, 20)[1], strict=False):
        assert ours["train/loss"] != theirs["train/loss"]
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=0.02)


def test_dropout_depends_on_seed_and_step_and_is_off_in_evaluation():
    model = dataclasses.replace(PALM.model, dropout_rate=0.3)
    steps = make_steps(dataclasses.replace(PALM, model=model))
    train_step = jax.jit(steps.train_step)
    batch = experiments.packed_batch(PALM)

    def loss(step: int) -> float:
        at_step = dataclasses.replace(initial_state(), step=jnp.asarray(step))
        return float(train_step(at_step, batch)[1]["train/loss"])

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)
    sums = jax.jit(steps.eval_step)(initial_state().params, batch)
    assert sums.tokens == batch["weights"].sum()
    without_dropout = run(PALM, 20)[1][0]["train/loss"]
    assert float(sums.nats / sums.tokens) == pytest.approx(without_dropout, rel=1e-5)


def test_the_seed_decides_the_initial_parameters():
    one, other = (samples.to_numpy(initial_state(seed).params) for seed in (0, 1))
    assert (one["embedding"] != other["embedding"]).all()
