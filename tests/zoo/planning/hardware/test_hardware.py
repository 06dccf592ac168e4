"""Names of hardware, and the figures behind them."""

import pytest

from models.config import ConfigError
from zoo.planning import hardware


@pytest.mark.parametrize(
    ("name", "num_slices", "num_devices", "per_island"),
    [
        ("v4:12x16x16", 2, 6144, 3072),  # PaLM-540B's two pods: a v4 chip is one device
        ("v3:32x32", 4, 8192, 2048),  # Gopher-280B's 4096 chips of two cores
        ("v5e:16x16", 1, 256, 256),
        ("tpu7x:2x2x1", 1, 8, 8),
        ("h100:512", 1, 512, 8),
    ],
)
def test_devices_are_what_jax_counts(name, num_slices, num_devices, per_island):
    topology = hardware.parse(name, num_slices)
    assert (topology.num_devices, topology.devices_per_island) == (num_devices, per_island)


@pytest.mark.parametrize("name", ["v9:4x4", "v4", "v4:4x4", "v5e:4x4x4", "v5e:4xx4", "v5e:0x4", ""])
def test_an_unknown_name_is_answered_with_those_that_are_known(name):
    with pytest.raises(ConfigError, match=r"v4:XxYxZ.*v5e:XxY;.*h100:N"):
        hardware.parse(name, 1)


@pytest.mark.parametrize(("name", "num_slices"), [("v5e:4x4", 0), ("h100:8", 2)])
def test_slices_are_of_tpus_and_at_least_one(name, num_slices):
    with pytest.raises(ConfigError, match=f"--num-slices={num_slices}"):
        hardware.parse(name, num_slices)


def test_every_chip_has_a_peak():
    assert all(chip.flops_per_s > 1e13 for chip in hardware.CHIPS)


def test_every_chip_is_listed_once():
    kinds = [chip.device_kind for chip in hardware.CHIPS]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("device_kind", "flops_per_s"),
    [
        ("NVIDIA A100-PCIE-40GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L4", 121e12),
    ],
)
def test_a_chip_that_cannot_be_planned_has_an_mfu(device_kind: str, flops_per_s: float):
    assert hardware.mfu(flops_per_s / 2, device_kind, 1, "bfloat16") == 0.5
    assert not isinstance(hardware.chip_of(device_kind), hardware.PlannableChip)
