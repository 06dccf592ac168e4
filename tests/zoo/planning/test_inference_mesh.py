"""The mesh on which a model is sampled or evaluated, and the refusal of one that is too small."""

import dataclasses
import json

import pytest

import configs
from configs.experiment import Experiment, Mesh
from models.config import ConfigError
from zoo import plan
from zoo.common.errors import OutOfMemoryError
from zoo.distribution.sharding import mesh_shape
from zoo.planning import memory
from zoo.planning.accumulation import USABLE
from zoo.planning.inference_mesh import Evaluating, Sampling, decide
from zoo.planning.training import on_accelerator

GIB = 2**30
LLAMA = dataclasses.replace(on_accelerator(configs.get("llama_7b")), batch_tokens=2**17)
OPEN = Mesh(auto=True)


def with_mesh(mesh: Mesh) -> Experiment:
    return dataclasses.replace(LLAMA, mesh=mesh)


def axes(mesh: Mesh) -> tuple[int | None, int | None, int | None]:
    return mesh.data, mesh.fsdp, mesh.tensor


@pytest.mark.parametrize(
    ("num_rows", "expected"), [(1, (1, 1, 8)), (2, (2, 1, 4)), (8, (8, 1, 1)), (64, (8, 1, 1))]
)
def test_devices_without_a_row_share_the_weights_instead(num_rows: int, expected):
    mesh, reason = decide(with_mesh(OPEN), Sampling(num_rows, "run"), 8, 1000 * GIB, 8)
    assert axes(mesh) == expected
    assert reason is not None and ": decoding needs about" in reason


@pytest.mark.parametrize("device_gib", [6, 10])
def test_tensor_grows_only_until_weights_and_cache_fit(device_gib: int):
    mesh, reason = decide(with_mesh(OPEN), Sampling(16, "run"), 16, device_gib * GIB, 16)
    assert mesh.fsdp == 1 and mesh.tensor is not None and mesh.tensor > 1

    def needed(tensor: int) -> int:
        shape = mesh_shape(Mesh(tensor=tensor), 16)
        return memory.estimate_serving(LLAMA, shape, 16).total

    assert needed(mesh.tensor) <= USABLE * device_gib * GIB < needed(mesh.tensor // 2)
    assert reason is not None and f" would need {needed(mesh.tensor // 2) / GIB:.2f}" in reason


def test_int8_weights_fit_on_fewer_devices():
    in_run, in_int8 = (
        decide(with_mesh(OPEN), Sampling(16, weights), 16, 10 * GIB, 16)[0]
        for weights in ("run", "int8")
    )
    assert in_run.tensor is not None and in_int8.tensor is not None
    assert in_int8.tensor < in_run.tensor


def test_heads_that_do_not_divide_leave_copies_of_the_model():
    palm = dataclasses.replace(on_accelerator(configs.get("gpt2_1558m")), mesh=OPEN)  # 25 heads
    mesh, _ = decide(palm, Sampling(1, "run"), 8, 1000 * GIB, 8)
    assert axes(mesh) == (8, 1, 1)


@pytest.mark.parametrize("device_gib", [10, 20])
def test_an_evaluation_has_as_many_copies_as_fit(device_gib: int):
    mesh, reason = decide(with_mesh(OPEN), Evaluating("run"), 16, device_gib * GIB, 16)
    assert mesh.fsdp is not None and mesh.fsdp > 1 == mesh.tensor

    def needed(fsdp: int) -> int:
        return memory.estimate_evaluation(LLAMA, mesh_shape(Mesh(fsdp=fsdp), 16)).total

    assert needed(mesh.fsdp) <= USABLE * device_gib * GIB < needed(mesh.fsdp // 2)
    assert reason is not None and ": an evaluation needs about" in reason


def test_given_axes_stay_and_a_mesh_that_is_not_open_has_no_reason():
    mesh, _ = decide(with_mesh(Mesh(auto=True, fsdp=2)), Sampling(1, "run"), 8, 1000 * GIB, 8)
    assert axes(mesh) == (1, 2, 4)
    given = Mesh(tensor=2, data=4)
    assert decide(with_mesh(given), Sampling(1, "run"), 8, 1000 * GIB, 8) == (given, None)


@pytest.mark.parametrize("mesh", [OPEN, Mesh(tensor=2)])
@pytest.mark.parametrize("use", [Sampling(1, "run"), Evaluating("run")])
def test_a_mesh_that_cannot_hold_the_weights_is_refused_with_what_it_would_hold(mesh, use):
    message = r"not fit on --mesh\.\w+=2: weights [\d.]+, .*, together [\d.]+ of 4\.00 GiB"
    with pytest.raises(OutOfMemoryError, match=message):
        decide(with_mesh(mesh), use, 2, 4 * GIB, 2)


def test_a_pipeline_is_refused():
    with pytest.raises(ConfigError, match="over the axes data, fsdp and tensor"):
        decide(with_mesh(Mesh(auto=True, pipeline=2)), Sampling(1, "run"), 8, 1000 * GIB, 8)


def test_a_plan_of_decoding_chooses_as_sampling_does(run_here):
    flags = ["--model=llama_7b", "--topology=v5e:2x4", "--decode", "--mesh=auto", "--estimate-only"]
    outcome = run_here(plan.main, *flags, "--decode-batch=2", "--weights=int8", "--json")
    assert outcome.code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert "mesh: --mesh.data=2 --mesh.tensor=4: decoding needs about" in outcome.stderr
    assert (found["weights"], found["mesh"]["tensor"]) == ("int8", 4)
    weights = memory.estimate_serving(LLAMA, found["mesh"], 2, "int8").weights
    assert found["bytes_per_device"]["weights"] == weights


def test_int8_is_for_plans_of_decoding(run_here):
    outcome = run_here(plan.main, "--model=llama_7b", "--topology=v5e:2x4", "--weights=int8")
    assert outcome.code == 2
    assert "--weights=int8 is for --goal=decode" in outcome.stderr
