"""The descriptions of GPUs, against their published figures."""

import importlib.metadata
import re

import pytest

from zoo.planning import hardware
from zoo.planning.hardware import gpu_targets
from zoo.planning.hardware.gpu_targets import GENERATIONS, target_config

GPUS = {
    chip.name: chip
    for chip in hardware.CHIPS
    if isinstance(chip, hardware.PlannableChip) and chip.num_axes == 0
}
TENSOR_FLOPS = {(8, 0): 2048, (9, 0): 4096, (10, 0): 8192}
"""Dense bfloat16 operations per clock of a multiprocessor."""


@pytest.fixture(autouse=True)
def wheels(monkeypatch):
    """The wheels' versions, as where they are installed."""
    versions = {"nvidia-cudnn-cu13": "9.28.1.4", "nvidia-cuda-runtime": "13.5.37"}
    monkeypatch.setattr(gpu_targets, "_version", lambda names: versions[names[0]][:6])


def test_every_gpu_of_a_plan_has_a_description():
    assert set(GENERATIONS) == set(GPUS)


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_cores_at_their_clock_reach_the_published_peak(name: str):
    """At the tensor cores' own clock, which is up to an eighth below the highest one."""
    gpu, chip = GENERATIONS[name], GPUS[name]
    flops_per_s = gpu.num_cores * TENSOR_FLOPS[gpu.capability] * gpu.clock_ghz * 1e9
    assert 0.87 < chip.flops_per_s / flops_per_s <= 1.001


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_text_has_the_figures_and_balanced_braces(name: str):
    text = target_config(GPUS[name])
    assert text.count("{") == text.count("}")
    fields = dict(re.findall(r"^  (\w+): (\S+)$", text, flags=re.MULTILINE))
    assert float(fields["memory_bandwidth"]) == GPUS[name].hbm_bytes_per_s
    assert int(fields["device_memory_size"]) == GPUS[name].hbm_bytes
    assert int(fields["core_count"]) == GENERATIONS[name].num_cores
    assert int(fields["shared_memory_per_block_optin"]) < int(fields["shared_memory_per_core"])
    assert "dnn_version_info { major: 9 minor: 28 patch: 1 }" in text


def test_the_version_is_that_of_the_wheel_that_is_installed(monkeypatch):
    monkeypatch.undo()
    installed = importlib.metadata.version("numpy").split(".")[:3]
    assert gpu_targets._version(("no-such-wheel", "numpy")) == ".".join(installed)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        gpu_targets._version(("no-such-wheel",))
