"""The mesh: which axis goes where, and that sharding changes no loss."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import cast
from unittest import mock

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AbstractMesh

import configs
import zoo.training.step
from configs.experiment import Experiment, Mesh
from models.config import Attention, ConfigError, FeedForward
from models.model import abstract_params
from tests.models import experiments
from zoo.distribution import sharding
from zoo.distribution.batches import BatchLayout
from zoo.distribution.devices import resolve_dtype
from zoo.training import loss
from zoo.training.program import Program, abstract_state
from zoo.training.step import make_steps

CUBE = Mesh(data=2, fsdp=2, tensor=2)
# The same without its devices, for what only reads its shape.
ABSTRACT = cast(
    jax.sharding.Mesh,
    AbstractMesh((1, 2, 2, 1, 2), ("pipeline", "data", "fsdp", "sequence", "tensor")),
)


def train_on(experiment: Experiment, num_devices: int) -> tuple[list[float], dict, dict]:
    """Losses of a few steps on the experiment's mesh, and all arrays' specs before and after."""
    program = Program(experiment, sharding.make_mesh(experiment.mesh, num_devices))
    # So few bytes that one device's logits need several chunks.
    with mock.patch.object(loss, "CHUNK_BYTES", 2**14), program.entered():
        state = program.init()
        before = specs(state)
        losses = []
        for seed in range(4):
            batch = program.batch_layout.put(experiments.packed_batch(experiment, seed))
            state, metrics = program.train_step(state, batch)
            losses.append(float(metrics["train/loss"]))
        return losses, before, specs(state)


def specs(tree) -> dict[str, tuple]:
    """The actual sharding of every array of more than one number."""
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
@pytest.mark.parametrize("name", ["PALM", "GPT2"])
def test_a_run_in_micro_batches_on_eight_devices_equals_one_in_one_piece_on_one(name: str):
    experiment = getattr(experiments, name)
    one = dataclasses.replace(experiment, mesh=Mesh())
    eight = dataclasses.replace(experiment, mesh=CUBE, micro_batches=2)
    expected, _, _ = train_on(one, 1)
    losses, before, after = experiments.on_eight_devices(train_on, eight, 8)
    assert len(set(expected)) == len(expected)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert before == after
    assert before[".params['embedding'].value"] == ("tensor", "fsdp")


MESHES = {
    "data": Mesh(data=8),
    "fsdp": Mesh(data=1, fsdp=8),
    "tensor": Mesh(data=1, tensor=4),  # no more: the models have four heads
    "all three": CUBE,
}
SPLIT_MESHES = {
    "sequence": Mesh(data=1, sequence=8),
    "pipeline": Mesh(data=1, pipeline=2),  # no more: the models have two periods of layers
    "with fsdp": Mesh(data=1, pipeline=2, sequence=2, fsdp=2),
    "with tensor": Mesh(data=1, pipeline=2, sequence=2, tensor=2),
}
"""Here each part of a sequence and each piece of a batch draws its own dropout."""


def first_steps(experiment: Experiment, meshes: list[Mesh]) -> list[tuple[list[float], list]]:
    """On each mesh the losses of two steps, and the gradients of the first by parameter."""
    # Its state is the gradient.
    descent = optax.chain(optax.trace(decay=0.0), optax.scale(-0.1))
    with mock.patch.object(zoo.training.step, "make_optimizer", lambda *_: descent):
        state = jax.tree.map(np.asarray, jax.jit(make_steps(experiment).init)())
        return [first_steps_on(mesh, experiment, state) for mesh in meshes]


def first_steps_on(mesh_config: Mesh, experiment: Experiment, state) -> tuple[list[float], list]:
    experiment = dataclasses.replace(experiment, mesh=mesh_config)
    num_devices = math.prod(getattr(mesh_config, axis) or 1 for axis in sharding.AXES)
    mesh = sharding.make_mesh(mesh_config, num_devices)
    rules = sharding.rules_for(experiment, mesh)
    steps = make_steps(experiment, mesh)
    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        shardings = sharding.state_shardings(jax.eval_shape(steps.init), mesh, rules)
        train_step = jax.jit(steps.train_step, out_shardings=(shardings, None))
        layout = BatchLayout(sharding.batch_sharding(mesh), experiment.batch_size)
        batches = [layout.put(experiments.packed_batch(experiment, seed)) for seed in range(2)]
        once, first = train_step(jax.device_put(state, shardings), batches[0])
        _, second = train_step(once, batches[1])
    gradients = [np.asarray(leaf) for leaf in jax.tree.leaves(once.opt_state)]
    return [float(each["train/loss"]) for each in (first, second)], gradients


EVERY_CHOICE = ("gpt1", "gpt3", "gopher", "palm", "llama")
"""Families that have every choice of the nine between them, and are run on every mesh. The others
are run on one mesh of several axes."""


def choices(family: str) -> set:
    """Return the choices of a family's blocks, without their sizes."""
    model = configs.get(f"{family}_nano").model
    attention = model.attention
    return {
        ("norm", type(model.norm)),
        ("position", type(model.position)),
        ("layout", model.layout),
        ("feed-forward", model.feed_forward.kind),
        ("bands", len(attention.windows)),
        ("one KV head", attention.num_kv_heads == 1),
        ("tied", model.tie_embeddings),
        ("logit scale", model.logit_scale),
        ("dropout", model.dropout_rate > 0),
        *(("biases", part) for part in model.biases),
    }


def test_five_families_have_every_choice_of_the_nine():
    assert set().union(*map(choices, EVERY_CHOICE)) == set().union(*map(choices, configs.FAMILIES))


@pytest.mark.parametrize("family", configs.FAMILIES)
def test_no_mesh_changes_a_familys_losses_or_gradients(family: str):
    meshes = MESHES if family in EVERY_CHOICE else {"all three": CUBE}
    check_meshes(resolve_dtype(configs.get(f"{family}_nano")), meshes)


@pytest.mark.parametrize("family", configs.FAMILIES)
def test_no_split_of_length_or_layers_changes_a_familys_losses_or_gradients(family: str):
    experiment = resolve_dtype(configs.get(f"{family}_nano"))
    model = dataclasses.replace(experiment.model, dropout_rate=0.0)
    name = "with fsdp"
    meshes = SPLIT_MESHES if family in EVERY_CHOICE else {name: SPLIT_MESHES[name]}
    check_meshes(dataclasses.replace(experiment, model=model, micro_batches=2), meshes)


@pytest.mark.parametrize(
    ("mesh", "shape", "in_flight"),
    [
        (Mesh(), {}, 1),
        (Mesh(pipeline_micro_batches=8), {}, 1),
        (Mesh(), {"pipeline": 4}, 4),
        (Mesh(), {"pipeline": 4, "data": 2}, 2),
        (Mesh(), {"pipeline": 4, "data": 2, "fsdp": 2}, 1),
        (Mesh(pipeline_micro_batches=2), {"pipeline": 4}, 2),
    ],
)
def test_the_micro_batches_of_a_pipeline_are_one_per_stage_or_as_many_as_asked(
    mesh, shape, in_flight
):
    experiment = dataclasses.replace(experiments.PALM, micro_batches=2, mesh=mesh)
    shape = dict.fromkeys(sharding.AXES, 1) | shape
    assert sharding.pipeline_micro_batches(experiment, shape) == in_flight
    assert sharding.rows_per_pass(experiment, shape) == 4 // in_flight


def test_micro_batches_that_do_not_divide_the_batch_are_refused():
    mesh = Mesh(pipeline=2, pipeline_micro_batches=3)
    experiment = dataclasses.replace(experiments.PALM, micro_batches=2, mesh=mesh)
    with pytest.raises(ConfigError, match=r"pipeline_micro_batches=3 must divide the 4 sequences"):
        sharding.rows_per_pass(experiment, dict.fromkeys(sharding.AXES, 1) | {"pipeline": 2})


def check_meshes(experiment: Experiment, meshes: dict[str, Mesh]) -> None:
    experiment = dataclasses.replace(experiment, seq_len=16, batch_tokens=8 * 16, num_steps=20)
    alone, *meshed = experiments.on_eight_devices(
        first_steps, experiment, [Mesh(data=1), *meshes.values()]
    )
    losses, gradients = alone
    assert losses[0] != losses[1]
    largest = max(np.abs(gradient).max() for gradient in gradients)
    for axis, (found_losses, found_gradients) in zip(meshes, meshed, strict=True):
        np.testing.assert_allclose(found_losses, losses, rtol=1e-5, err_msg=axis)
        for found, expected in zip(found_gradients, gradients, strict=True):
            # That of a key's bias is zero but for rounding: softmax does not see it.
            close = 1e-4 * np.abs(expected).max() + 1e-6 * largest
            np.testing.assert_allclose(found, expected, rtol=0, atol=close, err_msg=axis)


def parameter_specs(experiment: Experiment) -> dict[str, tuple]:
    rules = sharding.rules_for(experiment, ABSTRACT)
    params = abstract_state(experiment.model, experiment.optimizer, experiment.param_dtype).params
    found = sharding.state_shardings(params, ABSTRACT, rules)
    return {
        ".".join(map(str, path)): tuple(value.get_value().spec)
        for path, value in nnx.to_flat_state(found)
    }


GOLDEN = Path(__file__).parent / "golden_shardings.txt"


def golden_shardings() -> str:
    """Every parameter of every family on a 2 x 2 x 2 mesh: its shape and its mesh axes."""
    lines = []
    for family in configs.FAMILIES:
        experiment = configs.get(f"{family}_nano")
        shapes = {
            ".".join(map(str, path)): value.get_value().shape
            for path, value in nnx.to_flat_state(abstract_params(experiment.model))
        }
        lines.append(f"{family}_nano")
        for name, spec in sorted(parameter_specs(experiment).items()):
            axes = [
                f"{size}/{axis}" if axis else f"{size}"
                for size, axis in itertools.zip_longest(shapes[name], spec)
            ]
            lines.append(f"    {name:<36}{'  '.join(axes)}")
    return "\n".join(lines) + "\n"


def test_every_familys_parameters_lie_where_the_golden_table_says():
    """`python -m tests.zoo.distribution.test_sharding` prints the table anew."""
    assert golden_shardings() == GOLDEN.read_text()


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
    abstract = abstract_state(experiment.model, experiment.optimizer, experiment.param_dtype)
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
    with pytest.raises(ConfigError, match=r"--mesh\.fsdp=3 needs 6 devices and there are 8"):
        sharding.make_mesh(Mesh(data=2, fsdp=3), 8)
    with pytest.raises(ConfigError, match=r"--mesh\.fsdp=2 needs 2 .* there is 1"):
        sharding.make_mesh(Mesh(fsdp=2), 1)


def test_data_is_filled_up_to_all_devices():
    assert dict(sharding.make_mesh(Mesh(), 1).shape) == {
        "pipeline": 1,
        "data": 1,
        "fsdp": 1,
        "sequence": 1,
        "tensor": 1,
    }
    assert experiments.on_eight_devices(mesh_shape, Mesh(tensor=2), 8) == {
        "pipeline": 1,
        "data": 4,
        "fsdp": 1,
        "sequence": 1,
        "tensor": 2,
    }


def mesh_shape(mesh: Mesh, num_devices: int, num_rows: int | None = None) -> dict[str, int]:
    return dict(sharding.make_mesh(mesh, num_devices, num_rows).shape)


@pytest.mark.parametrize(("num_rows", "data"), [(8, 4), (6, 3), (5, 1), (4, 4)])
def test_an_open_data_axis_is_as_large_as_the_batch_divides(num_rows: int, data: int):
    shape = experiments.on_eight_devices(mesh_shape, Mesh(tensor=2), 8, num_rows)
    assert shape["data"] == data


if __name__ == "__main__":
    print(golden_shardings(), end="")
