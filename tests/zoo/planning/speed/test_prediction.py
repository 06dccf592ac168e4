"""The predicted speed, against sums by hand and against what must change it."""

import dataclasses

import pytest

import configs
from configs.experiment import Experiment, Mesh
from zoo.distribution.sharding import mesh_shape
from zoo.planning import hardware
from zoo.planning.speed import prediction
from zoo.planning.speed.prediction import FITTED, Prediction, predict
from zoo.planning.speed.roofline import neighbours
from zoo.planning.training import on_accelerator

LLAMA = on_accelerator(configs.get("llama_7b"))
LLAMA = dataclasses.replace(LLAMA, execution=dataclasses.replace(LLAMA.execution, remat="none"))
ONE = mesh_shape(Mesh(), 1)


def with_batch(experiment: Experiment, sequences: int, **changes) -> Experiment:
    tokens = sequences * experiment.seq_len
    return dataclasses.replace(experiment, batch_tokens=tokens, **changes)


def on_one(experiment: Experiment, topology: str = "h100:1") -> Prediction:
    return predict(experiment, hardware.parse(topology, 1), ONE, 0)


def test_the_products_of_one_device_by_hand():
    predicted = on_one(with_batch(LLAMA, 2))
    layer = 4 * 4096**2 + 3 * 4096 * 11_008
    flops = 3 * 2 * 2 * 2048 * (32 * layer + 4096 * 32_000)
    assert predicted.products_s == pytest.approx(flops / (FITTED.hopper * 989e12))
    scores = 12 * 32 * 128 * 2048 * 32 * 2 * 2048
    speed = FITTED.attention * FITTED.hopper * 989e12
    assert predicted.attention_s == pytest.approx(scores / speed)
    assert predicted.exposed_s == 0
    parts = predicted.products_s, predicted.attention_s, predicted.memory_s
    assert predicted.step_s == pytest.approx(sum(parts))


def test_small_products_are_less_efficient():
    small, large = (on_one(with_batch(LLAMA, n)) for n in (1, 16))
    assert small.mfu < large.mfu < FITTED.hopper


def test_recomputing_costs_time_and_no_flops():
    full = dataclasses.replace(LLAMA.execution, remat="full")
    without, with_it = on_one(with_batch(LLAMA, 4)), on_one(with_batch(LLAMA, 4, execution=full))
    assert with_it.attention_s == pytest.approx(4 / 3 * without.attention_s)
    assert with_it.mfu < without.mfu


def test_the_bubble_of_a_pipeline_costs_time():
    def staged(micro_batches: int) -> Prediction:
        mesh = Mesh(pipeline=4, pipeline_micro_batches=micro_batches)
        experiment = with_batch(LLAMA, 32, mesh=mesh)
        return predict(experiment, hardware.parse("h100:4", 1), mesh_shape(mesh, 4), 0)

    assert staged(4).products_s == pytest.approx(staged(32).products_s * (7 / 4) / (35 / 32))


def test_a_ring_that_leaves_its_node_shares_the_networks_of_the_node():
    chip = hardware.parse("h100:64", 1).chip
    assert prediction._bandwidth(chip, 8, 8) == 450e9
    assert prediction._bandwidth(chip, 64, 8) == 8 * 50e9
    assert prediction._bandwidth(chip, 64, 1) == 50e9
    shape = mesh_shape(Mesh(data=4, fsdp=8, tensor=4), 128)
    near = neighbours(shape, 8)
    assert (near["tensor"], near["fsdp"], near["data"]) == (4, 2, 1)


def test_slow_communication_is_exposed():
    def sharded(gpus: int) -> Prediction:
        shape = mesh_shape(Mesh(fsdp=gpus), gpus)
        return predict(with_batch(LLAMA, gpus), hardware.parse(f"h100:{gpus}", 1), shape, 0)

    assert sharded(8).exposed_s > 0
    assert sharded(64).exposed_s > sharded(8).exposed_s
