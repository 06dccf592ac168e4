"""A model whose weights and cache several devices share, against one device."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

import configs
from configs.experiment import Experiment, Mesh, Weights
from data.vocabularies.lossless import train_vocabulary
from models.config import ConfigError
from models.execution import Execution
from tests.models import experiments, samples
from zoo.inference.decode import Sampling
from zoo.inference.language_model import LanguageModel
from zoo.inference.layout import graphdef_by_layer, params_by_layer
from zoo.inference.loading import program_on
from zoo.inference.weights import hold

MESH = Mesh(data=2, fsdp=2, tensor=2)
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]  # do not divide over data x fsdp


def grouped_queries() -> Experiment:
    llama = configs.get("llama_nano")
    heads = dataclasses.replace(llama.model.attention, num_kv_heads=2)
    return dataclasses.replace(llama, model=dataclasses.replace(llama.model, attention=heads))


EXPERIMENTS = {
    "multi-query": configs.get("palm_nano"),
    "grouped queries": grouped_queries(),
    "relative positions": configs.get("gopher_nano"),
}


def logits_and_ids(experiment: Experiment, mesh: Mesh | None, weights: Weights = "run"):
    """Run the model of random parameters on all devices, or on one."""
    experiment = dataclasses.replace(experiment, execution=Execution(dtype="float32"))
    program = None if mesh is None else program_on(experiment, mesh)
    params = nnx.state(samples.random_model(experiment.model), nnx.Param)
    if program is not None:
        params = jax.device_put(params, jax.tree.map(lambda x: x.sharding, program.params))
    params = hold(params, weights, experiment.model, program)
    loaded = LanguageModel(
        experiment,
        graphdef_by_layer(experiment.model, experiment.execution),
        params_by_layer(params, experiment.execution),
        train_vocabulary(["a model reads tokens\n" * 20], 290),
        program,
    )
    ids = loaded.sample_ids(PROMPTS, max_tokens=5, sampling=Sampling(temperature=0))
    shards = {shard.data.shape for shard in _largest(loaded).addressable_shards}
    return np.asarray(loaded.logits([row[:2] for row in PROMPTS])), ids, shards


def _largest(model: LanguageModel) -> jax.Array:
    return max(jax.tree.leaves(model.params), key=lambda leaf: leaf.size)


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_logits_and_tokens_are_those_of_one_device(kind: str):
    expected, expected_ids, (whole,) = logits_and_ids(EXPERIMENTS[kind], None)
    logits, ids, (shard,) = experiments.on_eight_devices(logits_and_ids, EXPERIMENTS[kind], MESH)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert ids == expected_ids
    assert np.prod(whole) == 4 * np.prod(shard)  # fsdp x tensor


def test_int8_weights_on_a_mesh_are_those_of_one_device():
    experiment = EXPERIMENTS["grouped queries"]
    expected, expected_ids, (whole,) = logits_and_ids(experiment, None, "int8")
    logits, ids, (shard,) = experiments.on_eight_devices(logits_and_ids, experiment, MESH, "int8")
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert ids == expected_ids
    assert np.prod(whole) == 4 * np.prod(shard)


def test_a_mesh_with_other_axes_is_refused():
    with pytest.raises(ConfigError, match="leave out --mesh.pipeline and --mesh.sequence"):
        experiments.on_eight_devices(program_on, EXPERIMENTS["multi-query"], Mesh(pipeline=8))
