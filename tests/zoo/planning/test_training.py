"""Plans without a compiler: search, remedies, and meshes that do not fit."""

import dataclasses

import configs
from configs.experiment import Mesh
from zoo.distribution.sharding import mesh_shape
from zoo.planning import hardware as topology
from zoo.planning import training as planning

LLAMA = planning.on_accelerator(configs.get("llama_7b"))
SMALL_SLICE = topology.parse("v5e:4x4", 1)
FSDP = mesh_shape(Mesh(fsdp=16), 16)


def test_search_ranks_only_what_fits_by_speed():
    ranked = planning.search(LLAMA, SMALL_SLICE)
    assert ranked
    assert all(plan.fits for plan in ranked)
    times = [round(plan.roofline.step_s, 3) for plan in ranked]
    assert times == sorted(times)
    assert {plan.experiment.execution.remat for plan in ranked} >= {"full"}


def test_in_a_search_only_copies_reach_across_slices():
    two = topology.parse("v5e:4x4", 2)
    assert all(plan.shape["data"] % 2 == 0 for plan in planning.candidates(LLAMA, two))


def test_too_large_a_step_gets_three_remedies_that_are_flags():
    plan = planning.estimate(LLAMA, SMALL_SLICE, FSDP)
    assert not plan.fits
    hbm_bytes = SMALL_SLICE.chip.hbm_bytes
    found = planning.remedies(LLAMA, FSDP, hbm_bytes)
    assert len(found) == 3
    flag, _, value = found[0].split(" ")[0].partition("=")
    assert flag == "--micro-batches"
    changed = dataclasses.replace(LLAMA, micro_batches=int(value))
    assert planning.estimate(changed, SMALL_SLICE, FSDP).fits


def test_rematerialisation_is_the_first_remedy_where_it_suffices():
    execution = dataclasses.replace(LLAMA.execution, remat="none")
    wasteful = dataclasses.replace(LLAMA, micro_batches=128, execution=execution)
    found = planning.remedies(wasteful, FSDP, SMALL_SLICE.chip.hbm_bytes)
    assert found[0].startswith("--execution.remat=full")


def test_out_of_memory_on_this_machine_says_where_the_memory_goes():
    error = planning.explained(MemoryError(), configs.get("palm_nano"))
    text = str(error)
    assert text.startswith("out of memory (of this computer")
    assert all(word in text for word in ("params", "gradients", "optimizer", "temporaries"))
    assert text.count("\n  ") == 3


def test_every_remedy_with_a_size_needs_less():
    shape = mesh_shape(Mesh(data=2, pipeline=4, fsdp=2), 16)
    piped = dataclasses.replace(LLAMA, micro_batches=64)
    before = planning.estimate(piped, SMALL_SLICE, shape).bytes.total / 2**30
    for remedy in planning.remedies(piped, shape):
        if "about" in remedy:
            assert float(remedy.split("about ")[1].split(" ")[0]) < before
