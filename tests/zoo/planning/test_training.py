"""Plans of a train step."""

import pytest

import configs
from configs.experiment import Mesh
from zoo.distribution.devices import choose_attention
from zoo.distribution.sharding import mesh_shape
from zoo.planning import compilation, hardware, memory
from zoo.planning.compilation import Compiled, DoesNotFitError
from zoo.planning.training import on_accelerator, plan_training

LLAMA = on_accelerator(configs.get("llama_7b"))
SLICE = hardware.parse("v5e:8x8", 1)
FSDP = mesh_shape(Mesh(fsdp=64), 64)


def test_a_refused_step_is_a_plan_with_the_estimates_bytes(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_, **__):
        raise DoesNotFitError("17.7G exceeds 15.75G")

    monkeypatch.setattr(compilation, "compile_step", refuse)
    plan = plan_training(LLAMA, SLICE, FSDP, "full")
    decided, _ = choose_attention(LLAMA, FSDP, SLICE.chip.device_kind)
    assert plan.bytes == memory.estimate_training(decided, FSDP)
    assert plan.attention == "splash: the fastest on TPU v5 lite"
    assert (plan.fits, plan.source, plan.refusal) == (False, "estimated", "17.7G exceeds 15.75G")


@pytest.mark.parametrize(("effort", "is_quick"), [("quick", True), ("full", False)])
def test_a_compiled_step_has_the_compilers_bytes(effort, is_quick, monkeypatch: pytest.MonkeyPatch):
    def compile_step(*_, quick: bool) -> Compiled:
        assert quick == is_quick
        return Compiled(0, 2**32, 2**20, [], 1.5)

    monkeypatch.setattr(compilation, "compile_step", compile_step)
    plan = plan_training(LLAMA, SLICE, FSDP, effort)
    assert plan.bytes.gradients + plan.bytes.temporaries == 2**32
    assert (plan.bytes.params, plan.bytes.optimizer) == memory.state_bytes(LLAMA, FSDP)
    assert (plan.bytes.code, plan.compile_s, plan.source) == (2**20, 1.5, "compiled")
