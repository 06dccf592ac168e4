"""The table in docs/plans.md: every published size has a row, with a mesh over which it divides."""

import dataclasses

import pytest

import configs
from configs.experiment import Mesh
from zoo.distribution.sharding import mesh_shape
from zoo.planning import compilation, hardware, plan_table
from zoo.planning.plan_table import ALL_ROWS, GPU_ROWS, ROWS, Row
from zoo.planning.training import on_accelerator, plan_training

NAMED = {
    name
    for family in configs.FAMILIES.values()
    for name in family.REPORTED_PARAMS
    if not name.startswith("chinchilla_") or name == "chinchilla_70b"
}


def test_every_published_size_has_one_row():
    assert [row.model for row in ROWS if row.model not in NAMED] == []
    assert len(ROWS) == len(NAMED)


def test_sizes_that_gpus_trained_have_one_on_gpus_too():
    trained = ("gpt1", "gpt2", "gpt3", "jurassic1", "mt_nlg", "llama")
    assert {row.model for row in GPU_ROWS} == {m for m in NAMED if m.startswith(trained)}
    assert len(ALL_ROWS) == len(ROWS) + len(GPU_ROWS) == len({row.key for row in ALL_ROWS})
    assert not any(hardware.parse(row.topology, 1).is_tpu for row in GPU_ROWS)


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: " ".join(row.key))
def test_every_row_fits_by_the_estimate(row: Row):
    topology = hardware.parse(row.topology, row.num_slices)
    mesh = Mesh(data=row.data, fsdp=row.fsdp, tensor=row.tensor)
    shape = mesh_shape(mesh, topology.num_devices)
    experiment = on_accelerator(configs.get(row.model))
    execution = dataclasses.replace(experiment.execution, remat="full")
    experiment = dataclasses.replace(
        experiment, micro_batches=row.micro_batches, execution=execution
    )
    assert plan_training(experiment, topology, shape).fits


def test_rows_are_added_to_an_existing_table(run_here, tmp_path):
    path = tmp_path / "plans.md"
    for model in ("gpt2_124m", "gpt1"):
        flags = [f"--only={model}", f"--out={path}", "--estimate-only"]
        assert run_here(plan_table.main, *flags).code == 0
    table, published = path.read_text().split("## The prediction")
    lines = table.strip().splitlines()
    names = [line.split("|")[1].strip() for line in lines[-4:]]
    assert names == ["gpt1_117m", "gpt1_117m", "gpt2_124m", "gpt2_124m"]
    assert sum(line.startswith("| model") for line in lines) == 1
    gopher = next(line for line in published.splitlines() if line.startswith("| Gopher-280B"))
    assert "32.5%" in gopher
    assert "more than 15 points" in gopher
    assert published.count("\n| MaxText") == 9


def test_a_compiled_row_stays_where_its_compiler_is_missing(run_here, tmp_path, monkeypatch):
    path = tmp_path / "plans.md"
    flags = ["--only=gpt1", f"--out={path}"]
    assert run_here(plan_table.main, *flags, "--estimate-only").code == 0
    compiled = path.read_text().replace("| estimated |", "| 99 s |")
    path.write_text(compiled)
    monkeypatch.setattr(compilation, "has_cuda_wheels", lambda: False)
    monkeypatch.setattr(compilation, "can_compile", lambda: False)
    outcome = run_here(plan_table.main, *flags)
    assert "gpt1_117m on a100_80gb:8: kept, since the CUDA wheels are missing" in outcome.stderr
    assert path.read_text() == compiled
