"""The devices of this process, and the settings that must be made before JAX touches them."""

import dataclasses
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax

from configs.experiment import Experiment
from data.storage import cache_folder
from models.attention import choice
from models.config import check

_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def expect_no_tpu() -> None:
    """Keep libtpu from searching for the TPUs of a cloud machine and from refusing two processes.

    The search prints many complaints where there is no TPU. Call this before JAX touches a device.
    """
    for name, value in _NO_TPU_HERE.items():
        os.environ.setdefault(name, value)


def quiet_libtpu() -> None:
    """Call `expect_no_tpu` where JAX found no TPU. Call this before JAX touches a device."""
    if os.environ.get("TPU_SKIP_MDS_QUERY") == "1":  # JAX sets it when it is imported
        expect_no_tpu()


def configure(*, cache_dir: str | None = None, fake_devices: int = 0) -> None:
    """Set the compilation cache and fake devices. Call this before JAX touches a device."""
    check(
        fake_devices >= 0,
        f"--fake-devices={fake_devices} must be 0 or more; 0 uses the real devices",
    )
    jax.config.update("jax_compilation_cache_dir", str(cache_folder(cache_dir) / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    quiet_libtpu()
    if fake_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", fake_devices)
        # A device may wait in several collectives at once, and each wait takes a thread. With one
        # thread per device they would wait for each other for ever. XLA sizes its pool by NPROC.
        os.environ["NPROC"] = str(8 * fake_devices)
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def resolve_dtype(experiment: Experiment) -> Experiment:
    """The experiment with dtype `auto` replaced by what it means on the devices of this process."""
    execution = experiment.execution.resolve(accelerated=jax.default_backend() != "cpu")
    return dataclasses.replace(experiment, execution=execution)


def for_inference(experiment: Experiment) -> Experiment:
    """The experiment of a checkpoint with the choice of the attention kernel left open again."""
    execution = dataclasses.replace(experiment.execution, attention="auto")
    return resolve_dtype(dataclasses.replace(experiment, execution=execution))


def choose_attention(
    experiment: Experiment,
    shape: Mapping[str, int],
    device_kind: str | None = None,
    *,
    is_training: bool = True,
) -> tuple[Experiment, str]:
    """Return the experiment with its attention kernel decided, and the reason in words.

    Raises ConfigError if it names a kernel that cannot serve it.

    Args:
      shape: the devices along each axis of the mesh.
      device_kind: JAX's name for the devices; None: those of this process.
    """
    capability = None
    kind = device_kind
    if kind is None:
        device = jax.devices()[0]
        kind = str(device.device_kind)
        capability = getattr(device, "compute_capability", None)  # "9.0"; only GPUs have it
    workload = choice.Workload(
        device_kind=kind,
        compute_capability=None if capability is None else float(capability),
        seq_len=experiment.seq_len,
        length_is_split=shape["sequence"] > 1,
        has_packed_rows=experiment.data.packing != "unmasked",
        is_training=is_training,
    )
    execution, reason = choice.choose(experiment.model, experiment.execution, workload)
    return dataclasses.replace(experiment, execution=execution), reason


def unused_accelerator() -> str | None:
    """Return a complaint if this machine has a TPU or GPU that JAX does not use."""
    if jax.default_backend() != "cpu" or jax.config.values["jax_platforms"] == "cpu":
        return None
    if Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi"):
        return 'an NVIDIA GPU is present but JAX runs on the CPU: pip install "gpt-zoo[gpu]"'
    if list(Path("/dev").glob("accel[0-9]*")) or "TPU_NAME" in os.environ:
        return 'a TPU is present but JAX runs on the CPU: pip install "gpt-zoo[tpu]"'
    return None


def bytes_per_device() -> float:
    """Memory of one device; on a CPU its share of the computer's memory."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / jax.local_device_count()


def num_neighbours() -> int:
    """The number of devices that fast links join: those of a TPU slice, or those of one process."""
    devices = jax.devices()
    if devices[0].platform != "tpu":
        return jax.local_device_count()
    return len(devices) // len({getattr(device, "slice_index", 0) for device in devices})


def describe_devices() -> str:
    """Describe the devices: `1 x cpu (cpu)` or `8 x TPU v4 (tpu) of 2 processes`."""
    devices, processes = jax.devices(), jax.process_count()
    of_processes = f" of {processes} processes" if processes > 1 else ""
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform}){of_processes}"


def read_description(description: str) -> tuple[int, str]:
    """Return the number of devices and the platform that `describe_devices` wrote."""
    found = re.match(r"(\d+) x .* \((\w+)\)", description)
    assert found is not None, description
    return int(found[1]), found[2]
