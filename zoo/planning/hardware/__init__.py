"""Published figures of chips, and topologies made of them.

`--topology=v4:12x16x16` names TPU chips in a torus, `--topology=h100:512` a number of GPUs.
"""

import math
import re
from dataclasses import dataclass

from models.config import check

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One JAX device whose peak is published, which is enough for the MFU of a run."""

    device_kind: str
    """JAX's name for it. Each of the two cores of a TPU v2, v3 or 7x chip is a device."""
    flops_per_s: float
    """Peak in dense bfloat16, from the vendor's data sheet."""


@dataclass(frozen=True)
class PlannableChip(Chip):
    """A chip whose memory and interconnect are published too, which is enough to plan a run."""

    name: str
    """Its name in --topology."""
    num_axes: int
    """Axes of the torus that its slices form; 0 for GPUs, which are only counted."""
    devices_per_chip: int
    """JAX devices per chip; the other figures are per device."""
    hbm_bytes: float
    """Memory that a program can use: the compiler keeps some of a TPU's memory for itself. For
    TPUs, the limit that libtpu 0.0.42 names when it refuses a program."""
    hbm_bytes_per_s: float
    """Bandwidth of that memory."""
    link_bytes_per_s: float
    """Bytes that one device sends over all its links within its slice (TPU) or node (GPU)."""
    network_bytes_per_s: float
    """Bytes that one device sends between slices or nodes."""


# Memory, its bandwidth and the interconnect: Google's pages "TPU v4" to "TPU7x"
# (docs.cloud.google.com/tpu/docs), whose interconnect figures count both directions where they say
# so. v2 and v3: Jouppi et al. 2020 (CACM 63:7), 4 links of 496 and 656 Gbit/s. v4: Jouppi et al.
# 2023 (arXiv 2304.01433), 6 links of 50 GB/s. Between slices: the 6.4 Tbit/s of a v5e pod are 3.1
# GB/s per chip; the other pages give nothing, and v4's figure is derived from PaLM's section 4, 81
# Tbit/s for 6144 chips. GPUs: NVIDIA's data sheets, and for the network the 200 (A100) and 400
# Gbit/s (H100, B200) per GPU of a DGX system.
# fmt: off
CHIPS: tuple[Chip, ...] = (
    #                             FLOPs/s   name  axes devices     HBM   HBM/s  links  network
    PlannableChip("TPU v2",        22.5e12, "v2",    2, 2,  7.48 * GIB,  350e9, 124e9, 1.6e9),
    PlannableChip("TPU v3",        61.5e12, "v3",    2, 2, 15.48 * GIB,  450e9, 164e9, 1.6e9),
    PlannableChip("TPU v4",         275e12, "v4",    3, 1, 30.75 * GIB, 1228e9, 300e9, 1.6e9),
    PlannableChip("TPU v5 lite",    197e12, "v5e",   2, 1, 15.75 * GIB,  819e9, 200e9, 3.1e9),
    PlannableChip("TPU v5",         459e12, "v5p",   3, 1, 95.74 * GIB, 2765e9, 600e9, 3.1e9),
    PlannableChip("TPU v6 lite",    918e12, "v6e",   2, 1, 31.25 * GIB, 1638e9, 400e9, 3.1e9),
    PlannableChip("TPU7x",       1153.5e12, "tpu7x", 3, 2, 94.75 * GIB, 3690e9, 300e9, 3.1e9),
    PlannableChip("NVIDIA A100-SXM4-40GB", 312e12, "a100_40gb", 0, 1,  40e9, 1555e9, 300e9, 25e9),
    PlannableChip("NVIDIA A100-SXM4-80GB", 312e12, "a100_80gb", 0, 1,  80e9, 2039e9, 300e9, 25e9),
    PlannableChip("NVIDIA H100 80GB HBM3", 989e12, "h100",      0, 1,  80e9, 3350e9, 450e9, 50e9),
    PlannableChip("NVIDIA H200",           989e12, "h200",      0, 1, 141e9, 4800e9, 450e9, 50e9),
    PlannableChip("NVIDIA B200",          2250e12, "b200",      0, 1, 180e9, 8000e9, 900e9, 50e9),
    Chip("NVIDIA A100-PCIE-40GB", 312e12),
    Chip("NVIDIA A100 80GB PCIe", 312e12),
    Chip("NVIDIA H100 PCIe",      756e12),
    Chip("NVIDIA L4",             121e12),
)
# fmt: on
"""Every chip that the zoo knows. One that is not listed has no MFU: a peak is never guessed."""

GPUS_PER_NODE = 8
"""GPUs that their links join; others are reached over the network."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Devices of one kind: `num_slices` TPU tori joined by the network, or a number of GPUs."""

    name: str
    """The value of --topology, for example `v4:12x16x16`."""
    chip: PlannableChip
    chips_per_slice: int
    num_slices: int

    @property
    def is_tpu(self) -> bool:
        """True for TPUs, which libtpu compiles for, and False for GPUs."""
        return self.chip.num_axes > 0

    @property
    def num_devices(self) -> int:
        """JAX devices of all slices together."""
        return self.chips_per_slice * self.chip.devices_per_chip * self.num_slices

    @property
    def devices_per_island(self) -> int:
        """Devices of one slice or node, numbered in sequence and joined by links."""
        return self.num_devices // self.num_slices if self.is_tpu else GPUS_PER_NODE


def parse(name: str, num_slices: int) -> Topology:
    """Return the topology that `v4:12x16x16` or `h100:512` names.

    Raises ConfigError, listing the known names, if the name is not one of them.
    """
    kind, _, size = name.partition(":")
    chips = {chip.name: chip for chip in CHIPS if isinstance(chip, PlannableChip)}
    known = "; ".join(
        f"{chip.name}:{'x'.join('XYZ'[: chip.num_axes]) or 'N'}" for chip in chips.values()
    )
    check(kind in chips, f"--topology={name!r} is not known; write one of {known}")
    chip = chips[kind]
    is_size = re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", size) is not None
    lengths = [int(length) for length in size.split("x")] if is_size else []
    example = f"{kind}:{'x'.join('4' * chip.num_axes) or 64}"
    check(
        len(lengths) == max(1, chip.num_axes),
        f"--topology={name!r} does not give the number of chips; write for example {example}; "
        f"known topologies are {known}",
    )
    check(
        num_slices == 1 or (num_slices > 1 and chip.num_axes > 0),
        f"--num-slices={num_slices} must be at least 1, and 1 for GPUs",
    )
    return Topology(name=name, chip=chip, chips_per_slice=math.prod(lengths), num_slices=num_slices)


def chip_of(device_kind: str) -> Chip | None:
    """Return the chip that JAX calls `device_kind`; None if it is not known."""
    return next((chip for chip in CHIPS if chip.device_kind == device_kind), None)


def mfu(flops_per_s: float, device_kind: str, num_devices: int, dtype: str) -> float | None:
    """Return model FLOPs utilisation in [0, 1]; None if the peak in `dtype` is not known."""
    chip = chip_of(device_kind)
    if chip is None or dtype != "bfloat16":
        return None
    return flops_per_s / (chip.flops_per_s * num_devices)
