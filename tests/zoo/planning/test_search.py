"""The search among meshes, by the estimate."""

import configs
from zoo.planning import hardware
from zoo.planning.search import candidates, search
from zoo.planning.training import on_accelerator

LLAMA = on_accelerator(configs.get("llama_7b"))
SMALL_SLICE = hardware.parse("v5e:4x4", 1)


def test_search_ranks_only_what_fits_by_speed():
    ranked = search(LLAMA, SMALL_SLICE)
    assert ranked
    assert all(plan.fits for plan in ranked)
    times = [round(plan.roofline.step_s, 3) for plan in ranked]
    assert times == sorted(times)
    assert {plan.experiment.execution.remat for plan in ranked} >= {"full"}


def test_in_a_search_only_copies_reach_across_slices():
    two = hardware.parse("v5e:4x4", 2)
    assert all(plan.shape["data"] % 2 == 0 for plan in candidates(LLAMA, two))
