"""Messages about too little memory, and the changes that they propose."""

import dataclasses

import configs
from configs.experiment import Mesh
from zoo.distribution.sharding import mesh_shape
from zoo.planning import hardware
from zoo.planning.remedies import remedies
from zoo.planning.training import on_accelerator, plan_training

LLAMA = on_accelerator(configs.get("llama_7b"))
SMALL_SLICE = hardware.parse("v5e:4x4", 1)
FSDP = mesh_shape(Mesh(fsdp=16), 16)


def test_too_large_a_step_gets_three_remedies_that_are_flags():
    plan = plan_training(LLAMA, SMALL_SLICE, FSDP)
    assert not plan.fits
    hbm_bytes = SMALL_SLICE.chip.hbm_bytes
    lines = remedies(LLAMA, FSDP, hbm_bytes)
    assert len(lines) == 3
    flag, _, value = lines[0].split(" ")[0].partition("=")
    assert flag == "--micro-batches"
    changed = dataclasses.replace(LLAMA, micro_batches=int(value))
    assert plan_training(changed, SMALL_SLICE, FSDP).fits


def test_rematerialisation_is_the_first_remedy_where_it_suffices():
    execution = dataclasses.replace(LLAMA.execution, remat="none")
    wasteful = dataclasses.replace(LLAMA, micro_batches=128, execution=execution)
    lines = remedies(wasteful, FSDP, SMALL_SLICE.chip.hbm_bytes)
    assert lines[0].startswith("--execution.remat=full")


def test_every_remedy_with_a_size_needs_less():
    shape = mesh_shape(Mesh(data=2, pipeline=4, fsdp=2), 16)
    mesh = Mesh(data=2, pipeline=4, fsdp=2, pipeline_micro_batches=64)
    piped = dataclasses.replace(LLAMA, mesh=mesh)
    before = plan_training(piped, SMALL_SLICE, shape).bytes.total / 2**30
    for remedy in remedies(piped, shape):
        if "about" in remedy:
            assert float(remedy.split("about ")[1].split(" ")[0]) < before
