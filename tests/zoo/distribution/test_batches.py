"""Batches on a mesh: padding, slices and the rows of each process."""

import dataclasses
from unittest import mock

import numpy as np
import pytest

import configs
from configs.experiment import Experiment, Mesh
from configs.parts.batch_ramps import LinearRamp
from tests.models import experiments
from tests.models.experiments import PALM
from zoo.distribution import sharding
from zoo.distribution.batches import BatchLayout, micro_batches, padded_sizes
from zoo.training.program import Program

ONE = {"data": 1, "fsdp": 1, "sequence": 1, "tensor": 1, "pipeline": 1}


def growing(first: int, full: int, **changes) -> Experiment:
    """Return a run whose batch grows by one sequence at a time from `first` to `full`."""
    ramp = LinearRamp(initial_tokens=16 * first, increment_tokens=16, ramp_tokens=1e4)
    return dataclasses.replace(PALM, batch_tokens=16 * full, batch_ramp=ramp, **changes)


@pytest.mark.parametrize(
    ("first", "full", "shape", "sizes"),
    [
        (1, 8, {}, (8, 4, 2, 1)),
        (3, 8, {}, (8, 4)),
        (1, 12, {}, (12, 6, 3)),
        (1, 8, {"data": 2}, (8, 4, 2)),
        (1, 8, {"data": 2, "fsdp": 4}, (8,)),
        (8, 8, {}, (8,)),
        (1, 64, {"pipeline": 4, "data": 2}, (64, 32, 16, 8)),
    ],
)
def test_batches_are_padded_to_halves_that_divide_over_the_mesh(first, full, shape, sizes):
    assert padded_sizes(growing(first, full), ONE | shape) == sizes


def test_a_smaller_batch_has_fewer_slices_and_no_larger_ones():
    run = growing(1, 24, micro_batches=3)
    sizes = padded_sizes(run, ONE)
    assert sizes == (24, 12, 6, 3)
    assert [micro_batches(run, size) for size in sizes] == [3, 2, 1, 1]
    for size in sizes:
        assert size % micro_batches(run, size) == 0
        assert size / micro_batches(run, size) <= 24 / 3


@pytest.mark.parametrize(
    ("name", "number"), [("palm_540b", 3), ("gpt3_175b", 7), ("mt_nlg_530b", 6)]
)
def test_the_papers_runs_compile_a_handful_of_steps(name, number):
    assert len(padded_sizes(configs.get(name), ONE)) == number


def test_missing_rows_become_padding_that_no_loss_counts():
    layout = Program(PALM, sharding.make_mesh(Mesh(), 1)).layout_of(8)
    batch = experiments.packed_batch(PALM)
    put = layout.put({name: rows[:3] for name, rows in batch.items()})
    for name, rows in batch.items():
        np.testing.assert_array_equal(put[name][:3], rows[:3])
        assert put[name].shape == rows.shape
        assert put[name].dtype == rows.dtype
        assert not np.any(put[name][3:])


def losses_of_growing_batches(mesh: Mesh, num_devices: int, num_slices: int = 1) -> list[float]:
    """Return the losses of steps on the first 1, 2, 3, 5 and 8 rows of a batch, one by one."""
    run = growing(1, 8, mesh=mesh, micro_batches=num_slices)
    program = Program(run, sharding.make_mesh(mesh, num_devices))
    batch, losses = experiments.packed_batch(run), []
    with program.entered():
        state = program.init()
        for size in (1, 2, 3, 5, 8):
            layout = program.layout_of(size)
            rows = {name: array[:size][layout.rows] for name, array in batch.items()}
            state, metrics = program.train_step(state, layout.put(rows))
            losses.append(float(metrics["train/loss"]))
    return losses


def test_padding_changes_no_update_on_any_mesh():
    """On one device 1, 2 and 8 rows need no padding; on eight, all but the last batch do."""
    expected = losses_of_growing_batches(Mesh(), 1)
    assert len(set(expected)) == len(expected)
    for mesh in (Mesh(data=8), Mesh(data=2, fsdp=2, tensor=2), Mesh(data=4, pipeline=2)):
        found = experiments.on_eight_devices(losses_of_growing_batches, mesh, 8)
        np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("num_slices", [2, 4])
def test_accumulation_of_padded_batches_is_the_big_batch(num_slices):
    whole = losses_of_growing_batches(Mesh(), 1)
    np.testing.assert_allclose(losses_of_growing_batches(Mesh(), 1, num_slices), whole, rtol=2e-5)


def test_a_host_reads_the_rows_of_its_devices_and_no_others():
    """Here of the first of two hosts with four devices each, along each of the axes."""
    assert experiments.on_eight_devices(rows_of_half, Mesh(data=8)) == (0, 4)
    assert experiments.on_eight_devices(rows_of_half, Mesh(data=1, fsdp=8)) == (0, 4)
    assert experiments.on_eight_devices(rows_of_half, Mesh(data=2, tensor=4)) == (0, 4)
    assert experiments.on_eight_devices(rows_of_half, Mesh(data=1, tensor=8)) == (0, 8)


def rows_of_half(mesh_config: Mesh) -> tuple[int, int]:
    rows = sharding.batch_sharding(sharding.make_mesh(mesh_config, 8))
    of_all = rows.devices_indices_map((8,))
    own = {device: index for device, index in of_all.items() if device.id < 4}
    with mock.patch.object(
        type(rows), "addressable_devices_indices_map", lambda *_: own, create=True
    ):
        found = BatchLayout(rows, 8).rows
    return found.start, found.stop
