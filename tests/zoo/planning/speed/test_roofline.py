"""The bounds of a step, against sums by hand."""

import pytest

import configs
from configs.experiment import Mesh
from models.model import num_params
from zoo.distribution.sharding import mesh_shape
from zoo.planning import hardware
from zoo.planning.speed import roofline
from zoo.planning.speed.collectives import Collective
from zoo.planning.training import on_accelerator

LLAMA = on_accelerator(configs.get("llama_7b"))
SHAPE = mesh_shape(Mesh(fsdp=64), 64)
HARDWARE = hardware.parse("v5p:4x4x4", 1)


def test_compute_counts_rematerialisation_and_mfu_does_not():
    bounds = roofline.step_bounds(LLAMA, HARDWARE, SHAPE, 0, [])
    flops = roofline.flops_per_step(LLAMA)
    assert bounds.compute_s == pytest.approx(4 / 3 * flops / (64 * 459e12))
    assert bounds.step_s == bounds.compute_s
    assert bounds.mfu == pytest.approx(0.75)


def test_the_slowest_resource_is_the_step():
    sent = [
        Collective("all-gather", False, 1, 10**15, 0),
        Collective("all-reduce", True, 1, 10**13, 10**13),
    ]
    bounds = roofline.step_bounds(LLAMA, HARDWARE, SHAPE, 0, sent)
    assert bounds.links_s == pytest.approx(1e15 / 600e9)
    assert bounds.network_s == pytest.approx(1e13 / 3.1e9)
    assert bounds.step_s == bounds.network_s


def test_expected_collectives_of_zero_are_three_gathers_and_a_scatter():
    gathers, scatter = roofline.expected_collectives(LLAMA, SHAPE, 64)
    size = num_params(LLAMA.model) * 63 / 64
    assert (gathers.kind, gathers.count) == ("all-gather", 3 * 32)
    assert gathers.bytes == pytest.approx(3 * 2 * size)
    assert (scatter.kind, scatter.bytes) == ("reduce-scatter", pytest.approx(4 * size))
    assert not gathers.across_slices
    assert all(c.across_slices for c in roofline.expected_collectives(LLAMA, SHAPE, 8))


def test_a_ring_over_nodes_uses_the_networks_of_all_gpus_of_a_node():
    """Of the 8 GPUs of a node, one at a time passes a piece on to the next node."""
    gathers, scatter = roofline.expected_collectives(LLAMA, SHAPE, 8)
    assert gathers.network_bytes == pytest.approx(gathers.bytes / 8)
    assert scatter.network_bytes == pytest.approx(scatter.bytes / 8)
    gpus = hardware.parse("h100:64", 1)
    links_s, network_s = roofline.communication_s([gathers], gpus.chip)
    assert links_s == pytest.approx(gathers.bytes * 7 / 8 / 450e9)
    assert network_s == pytest.approx(gathers.bytes / 8 / 50e9)


def test_gradients_are_summed_over_copies_and_parts_of_a_sequence_at_once():
    shape = mesh_shape(Mesh(data=4, sequence=2, tensor=2), 16)
    assert roofline.neighbours(shape, 8)["data"] == 4
    assert roofline.neighbours(shape, 16)["data"] == 8
