"""Optimizers and schedules against the papers' equations."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import configs
from configs.parts.optimizers import (
    Adafactor,
    AdamW,
    Decays,
    InverseSquareRoot,
    Optimizer,
    RateCorrectedAdam,
    Schedule,
    UncorrectedAdam,
    WarmupCosine,
)
from data.config import MAY_CHANGE
from models.model import abstract_params
from tests.models import samples
from tests.reference import adafactor, gpt1_adam
from zoo.training.optimizer import logical_axes, make_optimizer, matrices
from zoo.training.schedule import make_schedule

NUM_STEPS = 5
PALM_RUN = configs.get("palm_nano")
BIASED_PALM = dataclasses.replace(samples.PALM, biases=("qkv", "feed_forward", "norm"))


def random_gradients(params: nnx.State, count: int) -> list[nnx.State]:
    """Gradients of very different norms, so that some are clipped and some are not."""
    rng = np.random.default_rng(1)

    def draw(param: jax.Array, length: float) -> jax.Array:
        return jnp.asarray(rng.normal(0, length, param.shape), jnp.float32)

    lengths = itertools.islice(itertools.cycle([1.0, 1e-4, 0.1, 1e-3, 3.0]), count)
    return [jax.tree.map(lambda p, length=length: draw(p, length), params) for length in lengths]


def train(config: Optimizer, params: nnx.State, gradients: list[nnx.State]) -> nnx.State:
    run = dataclasses.replace(PALM_RUN, optimizer=config, num_steps=len(gradients))
    optimizer = make_optimizer(config, make_schedule(run))
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = cast(nnx.State, optax.apply_updates(params, updates))
    return params


def decayed(names: Iterable[str], decays: Decays) -> set[str]:
    return {name for name in names if decays == "all" or name.endswith(("kernel", "embedding"))}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decays": "all"},
        {"beta1": 0.5, "decay_exponent": 0.6, "weight_decay_exponent": 1.0, "clip_norm": 0.01},
    ],
    ids=["decay on matrices", "decay on all", "other settings"],
)
def test_adafactor_follows_palms_equations(settings: dict[str, Any]):
    params = nnx.state(samples.random_model(BIASED_PALM), nnx.Param)
    # One layer is tiny: its step hits the floor of 1e-3 and must not see the other layer's size.
    (kernel,) = (p for path, p in nnx.to_flat_state(params) if path[-2:] == ("up", "kernel"))
    kernel[...] = kernel[...].at[1].multiply(1e-5)
    gradients = random_gradients(params, NUM_STEPS)
    before = samples.to_numpy(params)
    norms = [optax.tree.norm(gradient) for gradient in gradients]
    assert min(norms) < 1 < max(norms)

    settings = dict(settings)
    config = Adafactor(schedule=InverseSquareRoot(peak_lr=0.3, constant_steps=2), **settings)
    ours = samples.to_numpy(train(config, params, gradients))
    theirs = adafactor.train(
        before,
        [samples.to_numpy(gradient) for gradient in gradients],
        peak_lr=0.3,
        constant_steps=2,
        decayed=decayed(before, settings.pop("decays", "matrices")),
        stacked={name for name in before if name.startswith("layers.")},
        **settings,
    )
    for name in before:
        # Relative to how far each parameter has come.
        moved = np.abs(theirs[name] - before[name]).max()
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4 * moved, err_msg=name)


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_a_resumed_run_may_lower_the_peak_of_every_schedule(schedule: type):
    (peak,) = (field for field in dataclasses.fields(schedule) if field.name == "peak_lr")
    assert dict(peak.metadata) == MAY_CHANGE


@pytest.mark.parametrize("decays", ["matrices", "all"])
def test_rate_corrected_adam_is_the_one_of_gpt1s_released_code(decays: Decays):
    """Over 60 steps of a rate that rises and falls, some gradients clipped and some not."""
    params = nnx.state(samples.random_model(samples.MODELS["gpt1"]), nnx.Param)
    gradients = random_gradients(params, 60)
    before, num_steps = samples.to_numpy(params), len(gradients)
    schedule = WarmupCosine(peak_lr=1e-3, warmup_steps=10, final_fraction=0.0)

    def rate(k: int) -> float:
        cosine = (1 + math.cos(math.pi * (k - 10) / (num_steps - 10))) / 2
        return 1e-3 * (k / 10 if k <= 10 else cosine)

    config = RateCorrectedAdam(schedule=schedule, eps=1e-5, weight_decay=0.3, decays=decays)
    ours = samples.to_numpy(train(config, params, gradients))
    adamw = AdamW(schedule=schedule, beta2=0.999, eps=1e-5, weight_decay=0.3, decays=decays)
    others = samples.to_numpy(train(adamw, params, gradients))
    theirs = gpt1_adam.train(
        before,
        [samples.to_numpy(gradient) for gradient in gradients],
        rate=rate,
        decayed=decayed(before, decays),
        beta1=0.9,
        beta2=0.999,
        eps=1e-5,
        l2=0.3,
        max_grad_norm=1.0,
    )
    for name in before:
        moved = np.abs(theirs[name] - before[name]).max()
        rounding = 60 * np.finfo(np.float32).eps * np.abs(before[name]).max()
        tolerance = 1e-4 * moved + rounding
        np.testing.assert_allclose(ours[name], theirs[name], atol=tolerance, rtol=0, err_msg=name)
        assert np.abs(others[name] - theirs[name]).max() > 10 * tolerance, name


def test_uncorrected_adam_is_the_one_of_berts_released_code():
    """Its optimization.py, in NumPy: the moments as they are, and the decay times the rate."""
    params = nnx.state(samples.random_model(samples.MODELS["gpt1"]), nnx.Param)
    gradients = random_gradients(params, 20)
    schedule = InverseSquareRoot(peak_lr=1e-3, constant_steps=100)
    config = UncorrectedAdam(schedule=schedule, weight_decay=0.3, clip_norm=None)
    ours, before = samples.to_numpy(train(config, params, gradients)), samples.to_numpy(params)
    decays = decayed(before, "matrices")
    for name, p in before.items():
        p, m, v = p.astype(np.float64), np.zeros(p.shape), np.zeros(p.shape)
        for gradient in gradients:
            g = samples.to_numpy(gradient)[name].astype(np.float64)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            p = p - 1e-3 * (m / (np.sqrt(v) + 1e-6) + 0.3 * (name in decays) * p)
        moved = np.abs(p - before[name]).max()
        rounding = 20 * np.finfo(np.float32).eps * np.abs(before[name]).max()
        np.testing.assert_allclose(
            ours[name], p, atol=1e-4 * moved + rounding, rtol=0, err_msg=name
        )


def test_without_momentum_the_first_step_of_rate_corrected_adam_has_the_size_of_the_rate():
    params = nnx.state(samples.random_model(samples.MODELS["gpt1"]), nnx.Param)
    schedule = InverseSquareRoot(peak_lr=0.1, constant_steps=9)
    config = RateCorrectedAdam(schedule=schedule, beta1=0.0, eps=1e-20, weight_decay=0.0)
    moved = train(config, params, random_gradients(params, 1))
    for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(np.abs(new - old), 0.1, rtol=1e-3)


def test_adamw_is_optax_with_clipping_and_decay_on_matrices_only():
    params = nnx.state(samples.random_model(samples.GPT2), nnx.Param)
    gradients = random_gradients(params, NUM_STEPS)
    config = AdamW(
        schedule=InverseSquareRoot(peak_lr=0.1, constant_steps=NUM_STEPS),
        beta1=0.8,
        beta2=0.9,
        eps=1e-3,
        weight_decay=0.3,
        clip_norm=0.5,
    )
    ours = samples.to_numpy(train(config, params, gradients))
    # Each parameter alone, as a plain array, through Optax's Adam.
    plain = samples.to_numpy(params)
    clipped = [
        {name: g * min(1, 0.5 / float(optax.tree.norm(gradient))) for name, g in flat.items()}
        for gradient in gradients
        for flat in [samples.to_numpy(gradient)]
    ]
    for name, value in plain.items():
        decay = 0.3 if name.endswith(("kernel", "embedding")) else 0.0
        adam = optax.adamw(0.1, b1=0.8, b2=0.9, eps=1e-3, weight_decay=decay)
        value = jnp.asarray(value, jnp.float32)
        state = adam.init(value)
        for gradient in clipped:
            update, state = adam.update(jnp.asarray(gradient[name], jnp.float32), state, value)
            value = value + jnp.asarray(update)
        np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["palm_nano", "gpt2_124m"])
def test_decay_hits_embeddings_and_kernels_and_nothing_else(name: str):
    decayed = {
        ".".join(map(str, path)): hit
        for path, hit in nnx.to_flat_state(matrices(abstract_params(configs.get(name).model)))
    }
    hit = {name for name, is_matrix in decayed.items() if is_matrix}
    assert hit == {name for name in decayed if name.endswith(("kernel", "embedding"))}
    assert any(name.endswith("scale") for name in decayed)


def test_logical_axes_name_every_axis_of_a_parameter():
    for _, param in nnx.to_flat_state(abstract_params(configs.get("gpt2_124m").model)):
        assert len(logical_axes(param)) == len(param.shape)
