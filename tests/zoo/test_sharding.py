"""The mesh: which axis goes where, and that sharding changes no loss."""

import dataclasses
from typing import cast
from unittest import mock

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh

from models.config import Attention, ConfigError, FeedForward
from tests.models import experiments
from zoo import loss, sharding
from zoo.config import Experiment, Mesh
from zoo.step import make_steps

CUBE = Mesh(data=2, fsdp=2, tensor=2)
# The same without its devices, for what only reads its shape.
ABSTRACT = cast(jax.sharding.Mesh, AbstractMesh((2, 2, 2), ("data", "fsdp", "tensor")))


def train_on(experiment: Experiment, num_devices: int) -> tuple[list[float], dict, dict]:
    """Losses of a few steps on the experiment's mesh, and the spec of every array before and after."""
    mesh = sharding.make_mesh(experiment.mesh, num_devices)
    rules = sharding.rules_for(experiment, mesh)
    steps = make_steps(experiment, num_logit_shards=mesh.size)
    rows = sharding.batch_sharding(mesh)
    # So few bytes that one device's logits need several chunks.
    with (
        mock.patch.object(loss, "CHUNK_BYTES", 2**14),
        jax.set_mesh(mesh),
        nnx.logical_axis_rules(rules),
    ):
        shardings = sharding.state_shardings(jax.eval_shape(steps.init), mesh, rules)
        state = jax.jit(steps.init, out_shardings=shardings)()
        before = specs(state)
        step = jax.jit(steps.train_step, donate_argnums=0, out_shardings=(shardings, None))
        losses = []
        for seed in range(4):
            batch = sharding.put_batch(experiments.packed_batch(experiment, seed), rows)
            state, metrics = step(state, batch)
            losses.append(float(metrics["train/loss"]))
        return losses, before, specs(state)


def specs(tree) -> dict[str, tuple]:
    """Where every array of more than one number really lies."""
    return {
        jax.tree_util.keystr(path): tuple(leaf.sharding.spec)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if leaf.size > 1
    }


ODD_VOCABULARY = dataclasses.replace(
    experiments.GPT2, model=dataclasses.replace(experiments.GPT2.model, vocab_size=511)
)


def test_an_odd_vocabulary_is_stored_whole_and_changes_no_loss():
    one = dataclasses.replace(ODD_VOCABULARY, mesh=Mesh())
    expected, *_ = train_on(one, 1)
    eight = dataclasses.replace(ODD_VOCABULARY, mesh=CUBE)
    losses, before, after = experiments.on_eight_devices(train_on, eight, 8)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    assert before == after
    assert parameter_specs(ODD_VOCABULARY)["embedding"] == (None, "fsdp")


# In two micro-batches every device has one row of each: there XLA has gone wrong silently.
@pytest.mark.parametrize(("name", "micro_batches"), [("PALM", 2), ("GPT2", 2)])
def test_losses_on_eight_devices_equal_those_on_one(name: str, micro_batches: int):
    experiment = getattr(experiments, name)
    one = dataclasses.replace(experiment, mesh=Mesh())
    eight = dataclasses.replace(experiment, mesh=CUBE, micro_batches=micro_batches)
    expected, _, _ = train_on(one, 1)
    losses, before, after = experiments.on_eight_devices(train_on, eight, 8)
    assert len(set(expected)) == len(expected)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert before == after
    assert before[".params['embedding'].value"] == ("tensor", "fsdp")


def parameter_specs(experiment: Experiment) -> dict[str, tuple]:
    rules = sharding.rules_for(experiment, ABSTRACT)
    params = jax.eval_shape(make_steps(experiment).init).params
    found = sharding.state_shardings(params, ABSTRACT, rules)
    return {
        ".".join(map(str, path)): tuple(value.get_value().spec)
        for path, value in nnx.to_flat_state(found)
    }


def test_every_parameter_of_palm_lies_where_the_table_says():
    assert parameter_specs(experiments.PALM) == {
        "embedding": ("tensor", "fsdp"),
        "final_norm.scale": ("fsdp",),
        "layers.attention_norm.scale": (None, "fsdp"),
        "layers.attention.query.kernel": (None, "fsdp", "tensor", None),
        "layers.attention.key.kernel": (None, "fsdp", None, None),
        "layers.attention.value.kernel": (None, "fsdp", None, None),
        "layers.attention.output.kernel": (None, "tensor", None, "fsdp"),
        "layers.feed_forward.gate.kernel": (None, "fsdp", "tensor"),
        "layers.feed_forward.up.kernel": (None, "fsdp", "tensor"),
        "layers.feed_forward.down.kernel": (None, "tensor", "fsdp"),
    }


def test_several_kv_heads_positions_and_biases_are_sharded_too():
    found = parameter_specs(experiments.GPT2)
    assert found["position_embedding"] == (None, "fsdp")
    assert found["layers.attention.key.kernel"] == (None, "fsdp", "tensor", None)
    assert found["layers.attention.key.bias"] == (None, "tensor", None)
    assert found["layers.feed_forward.up.bias"] == (None, "tensor")
    assert found["layers.feed_forward.down.bias"] == (None, "fsdp")


@pytest.mark.parametrize("name", ["PALM", "GPT2"])
def test_moments_are_sharded_as_their_parameter_and_counters_replicated(name: str):
    experiment = getattr(experiments, name)
    abstract = jax.eval_shape(make_steps(experiment).init)
    found = sharding.state_shardings(abstract, ABSTRACT, sharding.rules_for(experiment, ABSTRACT))
    expected = parameter_specs(experiment)
    num_moments = 0
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(abstract.opt_state),
        jax.tree.leaves(found.opt_state),
        strict=True,
    )
    for (path, leaf), placed in leaves:
        name_in_state = jax.tree_util.keystr(path)
        parameters = [
            parameter
            for parameter in expected
            if all(f"['{key}']" in name_in_state for key in parameter.split("."))
        ]
        if parameters and leaf.size > 1:
            parameter = max(parameters, key=len)
            assert tuple(placed.spec) == expected[parameter], name_in_state
            num_moments += 1
        else:
            assert leaf.size == 1
            assert tuple(placed.spec) == (), name_in_state
    assert num_moments == 2 * len(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 33}, r"model\.d_model=33 .* mesh\.fsdp=2 ways"),
        (
            {"attention": Attention(num_heads=3, num_kv_heads=1, head_dim=8)},
            r"num_heads=3 .* mesh\.tensor=2 ways",
        ),
        (
            {"attention": Attention(num_heads=6, num_kv_heads=3, head_dim=8)},
            r"num_kv_heads=3 .* mesh\.tensor=2 ways",
        ),
        ({"feed_forward": FeedForward(d_ff=5, kind="gelu")}, r"d_ff=5 .* mesh\.tensor=2 ways"),
    ],
)
def test_a_model_that_does_not_fit_the_mesh_is_refused_with_the_numbers(change: dict, message: str):
    model = dataclasses.replace(experiments.PALM.model, **change)
    experiment = dataclasses.replace(experiments.PALM, model=model)
    with pytest.raises(ConfigError, match=message):
        sharding.rules_for(experiment, ABSTRACT)


def test_a_batch_that_does_not_fit_the_mesh_is_refused_with_the_numbers():
    experiment = dataclasses.replace(experiments.PALM, micro_batches=4)
    with pytest.raises(ConfigError, match=r"=2 .* mesh\.data=2 x mesh\.fsdp=2 ways"):
        sharding.rules_for(experiment, ABSTRACT)


def test_a_mesh_of_other_than_all_devices_is_refused_with_the_numbers():
    with pytest.raises(ConfigError, match=r"--mesh\.fsdp=3 .* needs 6 devices and there are 8"):
        sharding.make_mesh(Mesh(data=2, fsdp=3), 8)
    with pytest.raises(ConfigError, match=r"--mesh\.data=1 --mesh\.fsdp=2 .* there is 1"):
        sharding.make_mesh(Mesh(fsdp=2), 1)


def test_data_is_filled_up_to_all_devices():
    assert dict(sharding.make_mesh(Mesh(), 1).shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    assert experiments.on_eight_devices(mesh_shape, Mesh(tensor=2), 8) == {
        "data": 4,
        "fsdp": 1,
        "tensor": 2,
    }


def mesh_shape(mesh: Mesh, num_devices: int, num_rows: int | None = None) -> dict[str, int]:
    return dict(sharding.make_mesh(mesh, num_devices, num_rows).shape)


@pytest.mark.parametrize(("num_rows", "data"), [(8, 4), (6, 3), (5, 1), (4, 4)])
def test_an_open_data_axis_is_as_large_as_the_batch_divides(num_rows: int, data: int):
    shape = experiments.on_eight_devices(mesh_shape, Mesh(tensor=2), 8, num_rows)
    assert shape["data"] == data
