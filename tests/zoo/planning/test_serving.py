"""Plans of decoding, estimated and compiled."""

import dataclasses

import pytest

import configs
from configs.experiment import Mesh
from models.config import ConfigError
from zoo.distribution.sharding import mesh_shape
from zoo.planning import hardware
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
