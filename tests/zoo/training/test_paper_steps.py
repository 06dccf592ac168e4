"""Whole training steps of microscopic models against NumPy: the papers' model, loss and optimizer.

The slopes of the loss are central differences, one parameter at a time, so that no line of the
zoo's gradients is shared either.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import configs
from models.config import ModelConfig
from models.execution import Execution
from tests.models import samples
from tests.reference import gopher, gpt3, palm
from tests.reference.recipes import RUNS
from zoo.training.step import make_steps

Arrays = dict[str, np.ndarray]
ROWS, SEQ_LEN, BAND = 2, 6, 3
FIRST_STEP = 60_000
LOGITS = {
    "palm_540b": functools.partial(palm.logits, eps=1e-6, theta=10_000),
    "chinchilla_70b": functools.partial(gopher.logits, eps=1e-6),
    "gpt3_175b": functools.partial(gpt3.logits, windows=(None, BAND)),
}


def microscopic(model: ModelConfig) -> ModelConfig:
    """Return the same choices with a few hundred parameters, unused positions not counted."""
    heads = model.attention
    return dataclasses.replace(
        model,
        vocab_size=5,
        num_layers=2,
        d_model=4,
        attention=dataclasses.replace(
            heads,
            num_heads=2,
            num_kv_heads=min(2, heads.num_kv_heads),
            head_dim=2,
            windows=tuple(window and BAND for window in heads.windows),
        ),
        feed_forward=dataclasses.replace(model.feed_forward, d_ff=3),
    )


def slopes(loss: Callable[[Arrays], float], params: Arrays) -> Arrays:
    """Return the derivative of the loss by every parameter; those of unused positions are 0."""
    gradients = {name: np.zeros_like(value) for name, value in params.items()}
    for name, value in params.items():
        used = value[:SEQ_LEN] if name == "position_embedding" else value
        for index in np.ndindex(used.shape):
            step = np.zeros_like(value)
            step[index] = 1e-6
            ahead, behind = (loss(params | {name: value + sign * step}) for sign in (1, -1))
            gradients[name][index] = (ahead - behind) / 2e-6
    return gradients


@pytest.mark.parametrize("name", LOGITS)
def test_steps_of_training_are_the_papers(name: str):
    experiment = dataclasses.replace(
        configs.get(name),
        model=microscopic(configs.get(name).model),
        execution=Execution(dtype="float32"),
    )
    run, steps = RUNS[name](), make_steps(experiment)
    params = nnx.state(samples.random_model(experiment.model), nnx.Param)
    tokens = samples.random_tokens(experiment.model, ROWS, SEQ_LEN + 1)
    batch = {
        "inputs": jnp.asarray(tokens[:, :-1]),
        "targets": jnp.asarray(tokens[:, 1:]),
        "positions": jnp.tile(jnp.arange(SEQ_LEN), (ROWS, 1)),
        "segment_ids": jnp.ones((ROWS, SEQ_LEN), jnp.int32),
        "weights": jnp.ones((ROWS, SEQ_LEN)),
    }

    # The run is at its first step but for the counts and for second moments as in mid-course.
    second = "v" if name.startswith("palm") else "nu"
    state = steps.start(params)
    opt_state = optax.tree.set(
        state.opt_state,
        count=jnp.int32(FIRST_STEP - 1),
        **{second: jax.tree.map(lambda p: jnp.full_like(p, 1e-2), params)},
    )
    state = dataclasses.replace(state, step=jnp.int32(FIRST_STEP - 1), opt_state=opt_state)

    def loss(values: Arrays) -> tuple[float, float]:
        """Mean nats, and their sum with z_loss log^2 Z."""
        logits = np.stack([LOGITS[name](values, row) for row in tokens[:, :-1]])
        log_z = np.log(np.exp(logits).sum(-1))
        nats = log_z - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
        return nats.mean(), (nats + run.z_loss * log_z**2).mean()

    before = values = samples.to_numpy(params)
    m = {part: np.zeros_like(value) for part, value in values.items()}
    v = {part: np.full_like(value, 1e-2) for part, value in values.items()}
    # Little is computed with this program, so that fast compilation counts for more.
    train_step = jax.jit(steps.train_step, compiler_options={"xla_backend_optimization_level": 0})
    for k in range(FIRST_STEP, FIRST_STEP + 3):
        state, metrics = train_step(state, batch)
        nats, total = loss(values)
        gradients = slopes(lambda changed: loss(changed)[1], values)
        norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values()))
        assert float(metrics["train/loss"]) == pytest.approx(nats, rel=1e-5)
        assert float(metrics["train/z_loss"]) == pytest.approx(total - nats, rel=1e-4)
        assert float(metrics["train/grad_norm"]) == pytest.approx(norm, rel=1e-4)
        values = dict(values)
        for part, gradient in gradients.items():
            values[part], m[part], v[part] = run.step(
                values[part],
                gradient * min(1, run.clip_norm / norm),
                m[part],
                v[part],
                k=k,
                lr=run.rates[k - 1],
                decays=run.decays_vectors or part.endswith(("kernel", "embedding")),
                stacked=part.startswith("layers."),
            )
    for part, value in samples.to_numpy(state.params).items():
        moved = np.abs(values[part] - before[part]).max()
        rounding = 3 * np.finfo(np.float32).eps * np.abs(before[part]).max()
        np.testing.assert_allclose(
            value, values[part], rtol=0, atol=1e-3 * moved + rounding, err_msg=part
        )
