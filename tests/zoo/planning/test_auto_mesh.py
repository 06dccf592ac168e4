"""The mesh that --mesh=auto chooses, and the reason that it gives."""

import dataclasses
import json

import pytest

import configs
from configs.experiment import Experiment, Mesh
from models.config import ConfigError
from zoo.distribution.sharding import mesh_shape, pipeline_micro_batches
from zoo.planning import auto_mesh, memory
from zoo.planning.auto_mesh import choose
from zoo.planning.training import on_accelerator

GIB = 2**30
LLAMA = dataclasses.replace(on_accelerator(configs.get("llama_7b")), batch_tokens=2**17)
OPEN = Mesh(auto=True)


def with_mesh(mesh: Mesh, experiment: Experiment = LLAMA, **changes) -> Experiment:
    return dataclasses.replace(experiment, mesh=mesh, **changes)


def needed(mesh: Mesh, num_devices: int) -> float:
    return memory.estimate_training(LLAMA, mesh_shape(mesh, num_devices)).total


def test_a_model_that_fits_on_one_device_is_replicated():
    mesh, why = choose(with_mesh(OPEN), 16, 1000 * GIB, 16)
    assert mesh == Mesh(data=16, fsdp=1, tensor=1, sequence=1, pipeline=1)
    assert why.startswith("--mesh.data=16: a step needs about")


@pytest.mark.parametrize("device_gib", [16, 32, 64, 80, 96])
def test_fsdp_grows_only_until_the_step_fits(device_gib: int):
    mesh, why = choose(with_mesh(OPEN), 64, device_gib * GIB, 64)
    assert mesh.fsdp is not None and mesh.fsdp > 1 and mesh.tensor == 1
    assert needed(mesh, 64) <= auto_mesh.USABLE * device_gib * GIB
    less = Mesh(fsdp=mesh.fsdp // 2)
    assert needed(less, 64) > auto_mesh.USABLE * device_gib * GIB
    assert f" would need {needed(less, 64) / GIB:.2f}" in why


def test_a_batch_too_small_to_divide_leads_to_tensor_parallelism():
    mesh, why = choose(with_mesh(OPEN, batch_tokens=4 * 2048), 16, 1000 * GIB, 8)
    assert (mesh.data, mesh.fsdp, mesh.tensor) == (4, 1, 4)
    assert "=4 does not divide over the mesh" in why


def test_tensor_stays_within_neighbours():
    mesh, _ = choose(with_mesh(OPEN, batch_tokens=2 * 2048), 32, 1000 * GIB, 8)
    assert mesh.tensor is not None and mesh.sequence is not None
    assert 8 % (mesh.tensor * mesh.sequence) == 0
    assert mesh.pipeline == 2


def test_a_pipeline_has_no_more_micro_batches_than_the_batch_has_sequences_per_copy():
    given = Mesh(data=2, fsdp=1, pipeline=4, auto=True)
    mesh, reason = choose(with_mesh(given, batch_tokens=4 * 2048), 8, 1000 * GIB, 8)
    experiment = with_mesh(mesh, batch_tokens=4 * 2048)
    shape = mesh_shape(mesh, 8)
    assert (shape["pipeline"], pipeline_micro_batches(experiment, shape)) == (4, 2)
    assert reason.startswith("--mesh.pipeline=4 --mesh.data=2: ")


@pytest.mark.parametrize(
    "given", [Mesh(fsdp=1), Mesh(tensor=4), Mesh(sequence=2), Mesh(data=2), Mesh(pipeline=4)]
)
def test_a_given_axis_keeps_its_size(given: Mesh):
    mesh, _ = choose(with_mesh(dataclasses.replace(given, auto=True)), 16, 20 * GIB, 16)
    for axis, size in dataclasses.asdict(given).items():
        assert axis == "auto" or size is None or getattr(mesh, axis) == size


def test_if_nothing_fits_the_smallest_is_chosen_and_the_reason_says_it():
    mesh, why = choose(with_mesh(OPEN), 4, GIB, 4)
    assert mesh.data == 1
    assert "no mesh of 4 devices is expected to fit" in why


def test_if_nothing_divides_the_error_has_the_numbers():
    with pytest.raises(
        ConfigError, match=r"--mesh=auto finds no mesh of 7 devices: .* mesh\.data=7"
    ):
        choose(with_mesh(OPEN), 7, 1000 * GIB, 7)


def test_a_run_prints_its_mesh_and_records_it(run_process, nano, tmp_path):
    flags = [*nano, f"--workdir={tmp_path}", "--num-steps=1", "--fake-devices=8", "--mesh=auto"]
    process = run_process("-m", "zoo.train", *flags, "--mesh.tensor=2")
    assert process.returncode == 0, process.stderr
    assert "mesh: --mesh.data=4 --mesh.tensor=2: a step needs about" in process.stderr
    assert json.loads((tmp_path / "config.json").read_text())["mesh"]["data"] == 4


def test_a_plan_chooses_a_mesh_for_its_hardware(run_here):
    from zoo import plan

    outcome = run_here(
        plan.main, "--model=llama_7b", "--topology=h100:64", "--mesh=auto", "--estimate-only"
    )
    assert outcome.code == 0
    assert "mesh: --mesh." in outcome.stderr
