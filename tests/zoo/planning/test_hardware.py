"""Names of hardware, and what stands behind them."""

import pytest

from models.config import ConfigError
from zoo.planning import hardware as topology


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
    found = topology.parse(name, num_slices)
    assert (found.num_devices, found.devices_per_island) == (num_devices, per_island)


@pytest.mark.parametrize("name", ["v9:4x4", "v4", "v4:4x4", "v5e:4x4x4", "v5e:4xx4", "v5e:0x4", ""])
def test_an_unknown_name_is_answered_with_those_that_are_known(name):
    with pytest.raises(ConfigError, match=r"v4:XxYxZ.*v5e:XxY;.*h100:N"):
        topology.parse(name, 1)


@pytest.mark.parametrize(("name", "num_slices"), [("v5e:4x4", 0), ("h100:8", 2)])
def test_slices_are_of_tpus_and_at_least_one(name, num_slices):
    with pytest.raises(ConfigError, match=f"--num-slices={num_slices}"):
        topology.parse(name, num_slices)


def test_every_chip_has_a_peak():
    assert all(chip.flops_per_s > 1e13 for chip in topology.CHIPS.values())
