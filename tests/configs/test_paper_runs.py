"""Every recipe over its whole horizon against the equations of its paper."""

import functools
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import configs
from configs.parts.optimizers import Adafactor, AdamW, RateCorrectedAdam
from tests.reference.recipes import RUNS, Run
from zoo.training.optimizer import make_optimizer
from zoo.training.schedule import make_schedule

Arrays = dict[str, np.ndarray]
NUM_SAMPLES = 4096
MOMENTS = {Adafactor: ("ema", "v"), AdamW: ("mu", "nu"), RateCorrectedAdam: ("mu", "nu")}
"""The names of the first and second moments in the state of each optimizer."""
SHAPES = {
    "embedding": ((3, 2), ("vocab", "embed")),
    "kernel": ((2, 2, 3), ("layers", "embed", "mlp")),
    "bias": ((2, 3), ("layers", "mlp")),
    "scale": ((2,), ("embed",)),
}
"""A model in miniature: the shape and the logical axes of each parameter, two layers stacked."""

run_of = functools.cache(lambda name: RUNS[name]())
every_run = pytest.mark.parametrize("name", RUNS)


def sampled_steps(run: Run) -> np.ndarray:
    """Return steps of the whole run, the first and the last included, densest at the start."""
    last = len(run.batches)
    half = NUM_SAMPLES // 2
    steps = np.concatenate([np.linspace(1, last, half), np.geomspace(1, last, half)])
    return np.rint(np.sort(steps)).astype(np.int64)


def draw(seed: int, scale: float = 1.0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: scale * rng.normal(size=shape) for name, (shape, _) in SHAPES.items()}


def state_of(arrays: Arrays) -> nnx.State:
    """Return the arrays as parameters of a model."""
    return nnx.State(
        {
            name: nnx.Param(
                jnp.asarray(value, jnp.float32), out_sharding=SHAPES[name][1], eager_sharding=False
            )
            for name, value in arrays.items()
        }
    )


def test_every_family_has_a_run_and_every_run_a_model():
    assert {configs.family_of(name) for name in RUNS} == set(configs.FAMILIES)


@every_run
def test_batches_tokens_and_loss_are_the_papers(name: str):
    experiment, run = configs.get(name), run_of(name)
    assert experiment.seq_len == run.seq_len
    assert experiment.z_loss == run.z_loss
    assert experiment.num_steps == len(run.batches)
    assert experiment.num_tokens == run.batches.sum() * run.seq_len
    changes = 1 + np.flatnonzero(np.diff(run.batches))
    steps = np.concatenate([sampled_steps(run) - 1, changes - 1, changes])
    sizes = [experiment.batch_sizes.size(int(step)) for step in steps]
    np.testing.assert_array_equal(sizes, run.batches[steps])


@every_run
def test_learning_rates_are_the_papers(name: str):
    run = run_of(name)
    k = sampled_steps(run)
    rates = make_schedule(configs.get(name))(k.astype(np.int32) - 1)
    tolerance = 1e-6 * run.rates.max()  # A cosine to zero ends in the rounding of the peak.
    np.testing.assert_allclose(rates, run.rates[k - 1], rtol=1e-5, atol=tolerance)


def optimizer_step(name: str) -> Callable[..., tuple[Arrays, Arrays]]:
    """Return the optimizer step of a run, at many steps k side by side.

    It takes k, and by parameter its value, its gradient and its two moments; it returns what it
    would add to each parameter and the new second moment, [S, ...] for S steps.
    """
    experiment = configs.get(name)
    optimizer = make_optimizer(experiment.optimizer, make_schedule(experiment))
    first, second = MOMENTS[type(experiment.optimizer)]

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None, None, None))
    def step(count, p, g, m, v):
        params = state_of(p)
        state = optax.tree.set(
            optimizer.init(params), count=count, **{first: state_of(m), second: state_of(v)}
        )
        updates, state = optimizer.update(state_of(g), state, params)
        updates = cast(nnx.State, updates)
        return nnx.to_pure_dict(updates), nnx.to_pure_dict(optax.tree.get(state, second))

    return lambda k, *arrays: step(k.astype(np.int32) - 1, *arrays)


def papers_step(run: Run, k: np.ndarray, p: Arrays, g: Arrays, m: Arrays, v: Arrays):
    """Return the same by the equations, in float64."""
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in g.values()))
    updates, seconds = {}, {}
    for name, (shape, axes) in SHAPES.items():
        along = (-1, *[1] * len(shape))
        after, _, seconds[name] = run.step(
            p[name],
            g[name] * min(1, run.clip_norm / norm) if norm else g[name],
            m[name],
            v[name],
            k=k.reshape(along),
            lr=run.rates[k - 1].reshape(along),
            decays=run.decays_vectors or name in ("embedding", "kernel"),
            stacked=axes[0] == "layers",
        )
        updates[name] = after - p[name]
    return updates, seconds


def assert_close(ours: Arrays, theirs: Arrays, rtol: float) -> None:
    for name, value in theirs.items():
        tolerance = rtol / 100 * np.abs(value).max()
        value = np.broadcast_to(value, ours[name].shape)  # beta2 may be the same at all steps.
        np.testing.assert_allclose(ours[name], value, rtol=rtol, atol=tolerance, err_msg=name)


# One run of every optimizer that differs in its form, decay, clipping or schedule.
@pytest.mark.parametrize(
    "name",
    [
        "gpt1_117m",
        "gpt2_124m",
        "gpt3_175b",
        "jurassic1_178b",
        "mt_nlg_530b",
        "gopher_44m",
        "gopher_280b",
        "chinchilla_70b",
        "palm_540b",
        "llama_7b",
    ],
)
def test_updates_are_the_papers(name: str):
    run, step = run_of(name), optimizer_step(name)
    k = sampled_steps(run)[::4]
    p, direction, m = draw(0), draw(1), draw(2, 0.1)
    v = {part: value**2 for part, value in draw(3, 0.1).items()}
    zeros = {part: np.zeros_like(value) for part, value in p.items()}
    length = np.sqrt(sum(np.sum(value**2) for value in direction.values()))

    # Gradients of the size of Adam's eps, some that only a clipping at 0.25 cuts, and longer ones.
    for norm in (1e-7, 0.5, 3.0):
        g = {part: value * norm / length for part, value in direction.items()}
        ours, theirs = step(k, p, g, m, v), papers_step(run, k, p, g, m, v)
        assert_close(ours[0], theirs[0], rtol=1e-4)

        # From moments of zero comes 1 - beta2, whose float32 has few digits late in PaLM's run.
        ours, theirs = step(k, p, g, zeros, zeros), papers_step(run, k, p, g, zeros, zeros)
        assert_close(ours[0], theirs[0], rtol=2e-3)
        assert_close(ours[1], theirs[1], rtol=2e-3)

    # Without gradients only weight decay is left.
    ours, theirs = step(k, p, zeros, zeros, v), papers_step(run, k, p, zeros, zeros, v)
    assert_close(ours[0], theirs[0], rtol=1e-4)
