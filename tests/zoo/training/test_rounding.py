"""Stochastic rounding of parameters, and training with bfloat16 parameters."""

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs
from configs.experiment import Mesh, ParamDtype
from models.execution import Execution
from tests.models import samples
from tests.models.experiments import GPT2, on_eight_devices, packed_batch
from zoo.distribution.sharding import make_mesh
from zoo.planning.memory import PARAM_BYTES, estimate_serving, estimate_training
from zoo.training.program import Program
from zoo.training.rounding import round_stochastically
from zoo.training.step import accumulate

BFLOAT16 = dataclasses.replace(GPT2, param_dtype="bfloat16")
GOPHER = dataclasses.replace(
    configs.get("gopher_nano"),
    seq_len=16,
    batch_tokens=8 * 16,
    param_dtype="bfloat16",
    execution=Execution(dtype="bfloat16"),
)


def rounded(value: float, count: int, seed: int = 0) -> np.ndarray:
    """Round the same value `count` times."""
    x = jnp.full(count, value, jnp.float32)
    return np.asarray(round_stochastically(x, jax.random.key(seed)).astype(jnp.float32))


@pytest.mark.parametrize("fraction", [1 / 65536, 0.1, 0.5, 0.75])
@pytest.mark.parametrize("lower", [1.0, -1.0, 3 * 2.0**-20])
def test_the_mean_is_the_value_and_only_its_two_neighbours_occur(lower: float, fraction: float):
    gap = lower * 2.0**-7 if lower in (1.0, -1.0) else 2.0**-19 * 2.0**-7
    count = 200_000
    found = rounded(lower + fraction * gap, count)
    assert set(np.unique(found)) <= {np.float32(lower), np.float32(lower + gap)}
    share = (found != np.float32(lower)).mean()
    assert abs(share - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / count)


def test_what_bfloat16_can_hold_and_what_is_not_finite_stays():
    values = [0.0, 1.0, -1.5, 2.0**-126, 3.25e30, float("inf"), float("-inf"), float("nan")]
    exact = np.asarray(jnp.asarray(values, jnp.bfloat16).astype(jnp.float32))
    for seed in range(20):
        found = round_stochastically(jnp.asarray(exact), jax.random.key(seed))
        np.testing.assert_array_equal(np.asarray(found.astype(jnp.float32)), exact)
    full_of_ones = jax.lax.bitcast_convert_type(jnp.full(1000, 0x7FFFFFFF, jnp.uint32), jnp.float32)
    assert jnp.isnan(round_stochastically(full_of_ones, jax.random.key(0))).all()


def test_updates_below_half_a_gap_add_up():
    """Rounding to the nearest would leave 1 where it is for ever."""
    x, update = jnp.ones(1000, jnp.bfloat16), 2.0**-11
    step = jax.jit(lambda x, key: round_stochastically(x.astype(jnp.float32) + update, key))
    for key in jax.random.split(jax.random.key(0), 128):
        x = step(x, key)
    moved = float(jnp.mean(x.astype(jnp.float32))) - 1
    assert moved == pytest.approx(128 * update, rel=0.05)
    assert jnp.bfloat16(1 + update) == 1


def one_device_program(experiment) -> Program:
    return Program(experiment, make_mesh(Mesh(data=1), 1, experiment.batch_size))


def test_a_gopher_with_bfloat16_parameters_learns_and_repeats_itself():
    program = one_device_program(GOPHER)

    def losses() -> list[float]:
        state, found = program.init(), []
        for step in range(12):
            state, metrics = program.train_step(state, packed_batch(GOPHER, step % 2))
            found.append(float(metrics["train/loss"]))
        return found

    with program.entered():
        found = losses()
        assert found[-1] < found[0] - 0.5
        assert found == losses()


def test_the_state_has_the_shapes_and_dtypes_that_the_program_announces():
    program = one_device_program(GOPHER)
    with program.entered():
        state = program.init()
    announced = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), program.state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == announced
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("bfloat16")}
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim > 0]
    assert {leaf.dtype for leaf in moments} == {jnp.dtype("float32")}


def test_bfloat16_gradients_of_micro_batches_add_up_in_float32():
    """A sum in bfloat16 would stay at 1, whose neighbour is 1 + 2^-7."""

    def gradient(params, rows, key):
        return jnp.sum(rows["inputs"]).astype(jnp.bfloat16)

    batch = {"inputs": jnp.asarray([[1.0], *[[2.0**-9]] * 7])}
    total = accumulate(gradient, None, batch, jax.random.key(0), 8)
    assert (total.dtype, float(total)) == (jnp.float32, 1 + 7 * 2.0**-9)


def step_on(mesh: Mesh, num_devices: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the parameters before and after one step on a mesh."""
    experiment = dataclasses.replace(BFLOAT16, mesh=mesh)
    program = Program(experiment, make_mesh(mesh, num_devices, experiment.batch_size))
    with program.entered():
        first = program.init()
        before = samples.to_numpy(first.params)
        batch = program.batch_layout.put(packed_batch(experiment))
        state, _ = program.train_step(first, batch)
    return before, samples.to_numpy(state.params)


def test_the_same_random_bits_round_on_every_mesh():
    before, single = on_eight_devices(step_on, Mesh(data=1), 1)
    # The softmax does not see a bias of all keys: its gradient is rounding noise, and nothing else.
    noise = "layers.attention.key.bias"
    for mesh, num_devices in ((Mesh(data=2, fsdp=2, tensor=2), 8), (Mesh(data=1, pipeline=2), 2)):
        _, split = on_eight_devices(step_on, mesh, num_devices)
        assert np.abs(split[noise] - single[noise]).max() < 1e-5
        for name in single.keys() - {noise}:
            assert (single[name] != before[name]).mean() > 0.3, name
            # Sums in another order differ in the last bit, which seldom decides a rounding.
            assert (split[name] == single[name]).mean() > 0.999, name


def test_the_plan_knows_the_size_of_a_parameter():
    assert {dtype: np.dtype(dtype).itemsize for dtype in get_args(ParamDtype)} == PARAM_BYTES
    published = configs.get("gopher_280b")
    float32 = dataclasses.replace(published, param_dtype="float32")
    axes = ("data", "fsdp", "tensor", "sequence", "pipeline")
    shape: dict[str, int] = {axis: 1 for axis in axes}
    short, long = (estimate_training(e, shape) for e in (published, float32))
    assert (2 * short.params, 2 * short.gradients) == (long.params, long.gradients)
    assert short.optimizer == long.optimizer
    # Section 3.3: 2.5 TiB for the parameters and the state of Adam.
    assert (short.params + short.optimizer) / 2**40 == pytest.approx(2.5, abs=0.05)
    weights = [estimate_serving(e, shape, 1).weights for e in (published, float32)]
    assert weights[0] == weights[1]
