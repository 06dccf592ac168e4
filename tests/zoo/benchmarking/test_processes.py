"""The processes that measure: their devices, and their ends."""

import dataclasses

import pytest

import configs
from configs.experiment import Mesh
from zoo.benchmarking import What
from zoo.benchmarking.processes import started
from zoo.benchmarking.workload import Workload
from zoo.common.errors import StartedRunError


def workload(what: What, *, fake_devices: int = 0, mesh: Mesh = Mesh()) -> Workload:
    return Workload(
        what=what,
        experiment=dataclasses.replace(configs.get("palm_nano"), mesh=mesh),
        sequences=None,
        decode_batch=1,
        prompt_tokens=8,
        new_tokens=4,
        fake_devices=fake_devices,
    )


def test_a_train_step_uses_the_whole_mesh():
    with started("zoo", workload("train", fake_devices=8, mesh=Mesh(fsdp=4, tensor=2))) as worker:
        worker.repeat()
        measured = worker.measured
    assert measured.device["num_devices"] == 8
    assert measured.device["mesh"] == "--mesh.fsdp=4 --mesh.tensor=2"
    assert measured.workload.experiment.batch_size == 32  # 4 for each device
    assert measured.part("step")[0] > 0
    assert measured.peak_bytes > 0


def test_what_the_process_refuses_is_raised_here_with_its_exit_code():
    refused = workload("decode", fake_devices=2)
    with (
        pytest.raises(StartedRunError, match="--what=decode runs on one device") as error,
        started("zoo", refused),
    ):
        raise AssertionError("started")
    assert error.value.exit_code == 2


def test_a_process_that_dies_is_an_error_and_not_a_hang():
    with started("zoo", workload("input")) as worker:
        worker._process.kill()
        with pytest.raises(StartedRunError, match="the process that measures zoo ended"):
            worker.repeat()
