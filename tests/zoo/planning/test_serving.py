"""Plans of decoding, estimated and compiled."""

import dataclasses

import pytest

import configs
from configs.experiment import Experiment, Mesh, Weights
from models.config import ConfigError
from zoo.distribution.sharding import mesh_shape
from zoo.planning import compilation, hardware
from zoo.planning.serving import plan_serving
from zoo.planning.training import on_accelerator

LLAMA = on_accelerator(configs.get("llama_7b"))
EIGHT = hardware.parse("v5e:2x4", 1)
TENSOR = mesh_shape(Mesh(tensor=8), 8)


def test_an_estimate_reads_weights_and_cache_once_a_token():
    plan = plan_serving(LLAMA, EIGHT, TENSOR, 32)
    assert plan.bytes.kv_cache == 2 * 2 * 32 * 2048 * 32 * 4096 // 8
    read = plan.bytes.weights + plan.bytes.kv_cache
    assert plan.step_s == pytest.approx(read / 819e9)
    assert plan.tokens_per_s == pytest.approx(32 / plan.step_s)


def test_the_compiled_step_keeps_one_cache_in_place():
    """A second cache would not fit beside it."""
    model = dataclasses.replace(LLAMA.model, num_layers=2)
    plan = plan_serving(dataclasses.replace(LLAMA, model=model), EIGHT, TENSOR, 64, "full")
    assert (plan.source, plan.fits) == ("compiled", True)
    assert plan.bytes.temporaries < plan.bytes.kv_cache / 4
    assert "all-reduce" in {collective.kind for collective in plan.collectives}


def test_int8_weights_are_a_byte_each_and_stay_so_in_memory():
    """A step reads them as they are: nothing as large as a matrix is written for the products."""
    model = dataclasses.replace(LLAMA.model, num_layers=2, vocab_size=4096)
    experiment = dataclasses.replace(LLAMA, model=model)
    mesh = compilation._mesh(EIGHT, TENSOR)
    accessed, stored = {}, {}
    for weights in ("run", "int8"):
        executable = compilation.lower_decode(experiment, mesh, 1, weights).compile()
        memory, costs = executable.memory_analysis(), executable.cost_analysis()
        assert memory is not None and costs is not None
        accessed[weights], stored[weights] = costs["bytes accessed"], memory.argument_size_in_bytes
    estimates = [memory_of(weights, experiment) for weights in ("run", "int8")]
    assert stored["run"] - stored["int8"] == pytest.approx(estimates[0] - estimates[1], rel=0.01)
    assert estimates[0] == 2 * estimates[1]
    assert accessed["run"] - accessed["int8"] > 0.95 * (stored["run"] - stored["int8"])


def memory_of(weights: Weights, experiment: Experiment) -> int:
    return plan_serving(experiment, EIGHT, TENSOR, 1, "estimate", weights).bytes.weights


@pytest.mark.parametrize("name", ["palm_nano", "gpt2_nano", "gopher_nano", "gpt3_nano"])
def test_every_kind_of_attention_is_decoded_on_a_mesh(name: str):
    nano = on_accelerator(configs.get(name))
    shape = mesh_shape(Mesh(fsdp=2, tensor=2), 4)
    assert plan_serving(nano, hardware.parse("v5e:2x2", 1), shape, 8, "full").fits


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="--decode-batch=3"):
        plan_serving(LLAMA, EIGHT, mesh_shape(Mesh(data=2, tensor=4), 8), 3)


def test_a_pipeline_is_refused():
    with pytest.raises(ConfigError, match="leave out --mesh.pipeline"):
        plan_serving(LLAMA, EIGHT, mesh_shape(Mesh(pipeline=8), 8), 8)
