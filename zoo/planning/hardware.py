"""Chips and how many of them: what a plan needs to know about hardware that is not there.

`--topology=v4:12x16x16` names TPU chips in a torus, `--topology=h100:512` a number of GPUs.
"""

import math
import re
from dataclasses import dataclass

from models.config import ConfigError
from models.flops import PEAK_BFLOAT16_FLOPS_PER_S

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Published figures of one JAX device: a whole chip, or one of the two cores of a TPU v2, v3 or
    7x, which are devices of their own."""

    device_kind: str
    """JAX's name for it."""
    num_axes: int
    """Of the torus; 0 for GPUs, which are only counted."""
    devices_per_chip: int = 1
    hbm_bytes: float
    """What a program can have: the compiler keeps some of a TPU's memory for itself. For TPUs, the
    limit that libtpu 0.0.42 names when it refuses a program."""
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    """Out of one device over all its links to its slice (TPU) or its node of eight (GPU)."""
    network_bytes_per_s: float
    """Out of one device between slices or nodes."""

    @property
    def flops_per_s(self) -> float:
        """Dense bfloat16."""
        return PEAK_BFLOAT16_FLOPS_PER_S[self.device_kind]


# Memory, its bandwidth and the interconnect: Google's pages "TPU v4" to "TPU7x" (docs.cloud.google.com
# /tpu/docs), whose interconnect figures count both directions where they say so; v2 and v3: Jouppi et
# al. 2020 (CACM 63:7), 4 links of 496 and 656 Gbit/s; v4: Jouppi et al. 2023 (arXiv 2304.01433), 6
# links of 50 GB/s. Between slices: a v5e pod's 6.4 Tbit/s are 3.1 GB/s a chip; the other pages give
# nothing, and v4's is read off PaLM's section 4, 81 Tbit/s for 6144 chips. NVIDIA's data sheets for
# GPUs, and for the network the 200 (A100) and 400 Gbit/s (H100) a GPU of a DGX system.
CHIPS = {
    "v2": Chip(device_kind="TPU v2", num_axes=2, devices_per_chip=2, hbm_bytes=7.48 * GIB,
               hbm_bytes_per_s=350e9, link_bytes_per_s=124e9, network_bytes_per_s=1.6e9),
    "v3": Chip(device_kind="TPU v3", num_axes=2, devices_per_chip=2, hbm_bytes=15.48 * GIB,
               hbm_bytes_per_s=450e9, link_bytes_per_s=164e9, network_bytes_per_s=1.6e9),
    "v4": Chip(device_kind="TPU v4", num_axes=3, hbm_bytes=30.75 * GIB,
               hbm_bytes_per_s=1228e9, link_bytes_per_s=300e9, network_bytes_per_s=1.6e9),
    "v5e": Chip(device_kind="TPU v5 lite", num_axes=2, hbm_bytes=15.75 * GIB,
                hbm_bytes_per_s=819e9, link_bytes_per_s=200e9, network_bytes_per_s=3.1e9),
    "v5p": Chip(device_kind="TPU v5", num_axes=3, hbm_bytes=95.74 * GIB,
                hbm_bytes_per_s=2765e9, link_bytes_per_s=600e9, network_bytes_per_s=3.1e9),
    "v6e": Chip(device_kind="TPU v6 lite", num_axes=2, hbm_bytes=31.25 * GIB,
                hbm_bytes_per_s=1638e9, link_bytes_per_s=400e9, network_bytes_per_s=3.1e9),
    "tpu7x": Chip(device_kind="TPU7x", num_axes=3, devices_per_chip=2, hbm_bytes=94.75 * GIB,
                  hbm_bytes_per_s=3690e9, link_bytes_per_s=300e9, network_bytes_per_s=3.1e9),
    "a100_40gb": Chip(device_kind="NVIDIA A100-SXM4-40GB", num_axes=0, hbm_bytes=40e9,
                      hbm_bytes_per_s=1555e9, link_bytes_per_s=300e9, network_bytes_per_s=25e9),
    "a100_80gb": Chip(device_kind="NVIDIA A100-SXM4-80GB", num_axes=0, hbm_bytes=80e9,
                      hbm_bytes_per_s=2039e9, link_bytes_per_s=300e9, network_bytes_per_s=25e9),
    "h100": Chip(device_kind="NVIDIA H100 80GB HBM3", num_axes=0, hbm_bytes=80e9,
                 hbm_bytes_per_s=3350e9, link_bytes_per_s=450e9, network_bytes_per_s=50e9),
    "h200": Chip(device_kind="NVIDIA H200", num_axes=0, hbm_bytes=141e9,
                 hbm_bytes_per_s=4800e9, link_bytes_per_s=450e9, network_bytes_per_s=50e9),
}  # fmt: skip

GPUS_PER_NODE = 8


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Devices of one kind: `num_slices` TPU tori joined by the network, or a number of GPUs."""

    name: str
    """As it was written, `v4:12x16x16`."""
    chip: Chip
    chips_per_slice: int
    num_slices: int

    @property
    def is_tpu(self) -> bool:
        """Whether the real program can be compiled for it."""
        return self.chip.num_axes > 0

    @property
    def num_devices(self) -> int:
        """What JAX counts."""
        return self.chips_per_slice * self.chip.devices_per_chip * self.num_slices

    @property
    def devices_per_island(self) -> int:
        """Neighbours in the numbering of devices that are joined by links and not by the network."""
        return self.num_devices // self.num_slices if self.is_tpu else GPUS_PER_NODE


def parse(name: str, num_slices: int) -> Topology:
    """`v4:12x16x16` or `h100:512`. Raises ConfigError, with the names that are known."""
    kind, _, size = name.partition(":")
    known = "; ".join(f"{chip}:{'x'.join('XYZ'[: c.num_axes]) or 'N'}" for chip, c in CHIPS.items())
    if kind not in CHIPS:
        raise ConfigError(f"--topology={name!r} is not known; write one of {known}")
    chip = CHIPS[kind]
    lengths = (
        [int(n) for n in size.split("x")] if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", size) else []
    )
    if len(lengths) != max(1, chip.num_axes):
        raise ConfigError(
            f"--topology={name!r} does not say how many: a {kind} is written "
            f"{kind}:{'x'.join('4' * chip.num_axes) or 64}. Known are {known}"
        )
    if num_slices < 1 or (num_slices > 1 and not chip.num_axes):
        raise ConfigError(f"--num-slices={num_slices} must be at least 1, and 1 for GPUs")
    return Topology(name=name, chip=chip, chips_per_slice=math.prod(lengths), num_slices=num_slices)
