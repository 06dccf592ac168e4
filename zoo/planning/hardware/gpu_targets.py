"""Descriptions of GPUs for XLA, which can then compile for one that is not present.

The text is XLA's GpuTargetConfigProto (xla/stream_executor/device_description.proto). Its figures
are published: the limits of a compute capability in NVIDIA's CUDA C++ Programming Guide ("Compute
Capabilities"), the rest in the whitepapers of the A100, H100 and B200.
"""

import importlib.metadata
from dataclasses import dataclass

from zoo.planning.hardware import PlannableChip

KIB = 2**10
_DNN_PACKAGES = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12")
_CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")


@dataclass(frozen=True)
class Generation:
    """The figures that XLA wants of a GPU beyond those of a plan."""

    capability: tuple[int, int]
    """Compute capability, major and minor."""
    num_cores: int
    """Streaming multiprocessors."""
    fpus_per_core: int
    """Float32 lanes of each."""
    clock_ghz: float
    """Highest clock."""
    l2_bytes: int
    """Second-level cache."""
    shared_bytes: int
    """Shared memory of a multiprocessor; a block can have all of it but 1 KiB."""
    accelerated: bool
    """True if the capability has instructions of its own, such as 9.0a's."""


_A100 = Generation((8, 0), 108, 64, 1.41, 40 * 2**20, 164 * KIB, False)
_HOPPER = Generation((9, 0), 132, 128, 1.98, 50 * 2**20, 228 * KIB, True)
_B200 = Generation((10, 0), 148, 128, 1.965, 126 * 2**20, 228 * KIB, True)
GENERATIONS = {
    "a100_40gb": _A100,
    "a100_80gb": _A100,
    "h100": _HOPPER,
    "h200": _HOPPER,
    "b200": _B200,
}
"""The GPUs for which a plan can be compiled, by their names in --topology."""


def target_config(chip: PlannableChip) -> str:
    """Return the description of a chip, with the versions of the installed CUDA wheels.

    Raises PackageNotFoundError without them.
    """
    gpu = GENERATIONS[chip.name]
    major, minor = gpu.capability
    feature = "feature_extension: ACCELERATED_FEATURES" if gpu.accelerated else ""
    dnn, cuda = _version(_DNN_PACKAGES), _version(_CUDA_PACKAGES)
    dnn_fields = " ".join(
        f"{name}: {number}"
        for name, number in zip(("major", "minor", "patch"), dnn.split("."), strict=True)
    )
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} {feature} }}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: {2**31 - 1}
  block_dim_limit_y: {2**16 - 1}
  block_dim_limit_z: {2**16 - 1}
  registers_per_core_limit: {2**16}
  registers_per_block_limit: {2**16}
  shared_memory_per_core: {gpu.shared_bytes}
  shared_memory_per_block: {48 * KIB}
  shared_memory_per_block_optin: {gpu.shared_bytes - KIB}
  core_count: {gpu.num_cores}
  fpus_per_core: {gpu.fpus_per_core}
  clock_rate_ghz: {gpu.clock_ghz}
  l2_cache_size: {gpu.l2_bytes}
  memory_bandwidth: {chip.hbm_bytes_per_s:.0f}
  device_memory_size: {chip.hbm_bytes:.0f}
  device_address_bits: 64
  device_vendor: "NVIDIA Corporation"
  name: "{chip.device_kind}"
  driver_version: "{cuda}"
  runtime_version: "{cuda}"
  compile_time_toolkit_version: "{cuda}"
  dnn_version: "{dnn}"
}}
platform_name: "CUDA"
dnn_version_info {{ {dnn_fields} }}
device_description_str: "{chip.device_kind}"
"""


def _version(packages: tuple[str, ...]) -> str:
    """Return the first three numbers of the version of the first package that is installed."""
    installed = {each.name for each in importlib.metadata.distributions()}
    name = next((package for package in packages if package in installed), packages[0])
    numbers = importlib.metadata.version(name).split(".")[:3]
    return ".".join(numbers)
