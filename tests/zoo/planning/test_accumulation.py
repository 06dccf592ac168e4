"""The micro-batches that --micro-batches=auto chooses, and the reason that it gives."""

import dataclasses

import pytest

import configs
from configs.experiment import Mesh
from zoo.distribution.sharding import mesh_shape
from zoo.planning import accumulation, auto_mesh, memory
from zoo.planning.hardware import GIB
from zoo.planning.training import on_accelerator

GPT2 = dataclasses.replace(on_accelerator(configs.get("gpt2_124m")), micro_batches="auto")
ONE = mesh_shape(Mesh(), 1)


def needed(micro_batches: int) -> int:
    return memory.estimate_training(
        dataclasses.replace(GPT2, micro_batches=micro_batches), ONE
    ).total


def test_a_batch_that_fits_is_not_divided():
    chosen, reason = accumulation.choose(GPT2, ONE, 1e15)
    assert chosen == dataclasses.replace(GPT2, micro_batches=1)
    assert reason.startswith("1 of 512 sequences: a step needs about")


@pytest.mark.parametrize("device_gib", [8, 16, 80])
def test_the_fewest_that_fit_are_taken_and_the_batch_stays(device_gib: int):
    chosen, reason = accumulation.choose(GPT2, ONE, device_gib * GIB)
    number = chosen.num_micro_batches
    assert chosen == dataclasses.replace(GPT2, micro_batches=number)
    assert number > 1
    assert needed(number) <= accumulation.USABLE * device_gib * GIB < needed(number // 2)
    assert f"{number // 2} would need {needed(number // 2) / GIB:.2f}" in reason


def test_what_cannot_fit_is_said():
    chosen, reason = accumulation.choose(GPT2, ONE, 0.1 * GIB)
    assert chosen.num_micro_batches == 512
    assert reason.endswith("and is not expected to fit")


def test_more_devices_need_fewer():
    shape = mesh_shape(Mesh(data=8), 8)
    alone, _ = accumulation.choose(GPT2, ONE, 8 * GIB)
    shared, _ = accumulation.choose(GPT2, shape, 8 * GIB)
    assert shared.num_micro_batches < alone.num_micro_batches
    assert shared.batch_size % (8 * shared.num_micro_batches) == 0


def test_a_mesh_is_chosen_with_the_micro_batches_that_it_would_have():
    """In one piece the batch would not fit unless the model were divided; in slices, copies fit."""
    copies = Mesh(data=8, fsdp=1, tensor=1, sequence=1, pipeline=1)
    auto = dataclasses.replace(GPT2, mesh=Mesh(auto=True))
    in_one_piece = dataclasses.replace(auto, micro_batches=1)
    assert auto_mesh.choose(in_one_piece, 8, 8 * GIB, 8)[0] != copies
    assert auto_mesh.choose(auto, 8, 8 * GIB, 8)[0] == copies
