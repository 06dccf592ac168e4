"""Replace the JAX stack of a Colab runtime by the zoo's; the first cell of every notebook runs it.

The zoo needs a newer JAX than the runtime has. One `pip install` brings the pinned versions of
`constraints.txt`, for the TPU, the GPU or the CPU that is here, into the runtime itself: it has one
JAX afterwards, and so has the notebook's own process, which a TPU requires. Then the plugins that
belong to another JAX are removed, since JAX loads all that it finds. NumPy keeps the runtime's
version, for the session may have loaded it. Only the standard library is needed.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CONSTRAINTS = CHECKOUT / "colab/constraints.txt"
HELD = ("numpy",)
"""Packages that keep the runtime's version: PyTorch and others there are compiled for it."""
PART_OF = {
    "tpu": ("libtpu",),
    "cuda12": ("jax-cuda12-plugin", "jax-cuda12-pjrt"),
    "cuda13": ("jax-cuda13-plugin", "jax-cuda13-pjrt"),
    "cpu": (),
}
"""The packages by which JAX reaches each kind of device."""
CUDA12_DRIVER, CUDA13_DRIVER = 525, 580
"""The oldest NVIDIA drivers that run programs of CUDA 12 and of CUDA 13."""
GOOGLE = "0x1ae0"
TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")
"""PCI ids of the vendor and its TPUs, from v3 to 7x; JAX looks for the same."""

Versions = Mapping[str, str]


class InstallError(Exception):
    """The notebook cannot go on; the message says why, and what to do."""


def versions() -> Versions:
    """Return the version of every installed package."""
    return {each.name.lower(): each.version for each in metadata.distributions()}


def pinned() -> Versions:
    """Return the versions of `constraints.txt`."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def nvidia_driver() -> int | None:
    """Return the major version of the NVIDIA driver, or None without a GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, check=False, capture_output=True, text=True)
    return int(answer.stdout.split(".")[0]) if answer.returncode == 0 else None


def has_tpu(installed: Versions) -> bool:
    """Return whether there is a TPU on the PCI bus, or this is Colab's image for one."""
    is_tpu_image = "COLAB_RELEASE_TAG" in os.environ and "libtpu" in installed
    return is_tpu_image or any(
        vendor.read_text().strip() == GOOGLE and device.read_text().strip() in TPUS
        for vendor in Path("/sys/bus/pci/devices").glob("*/vendor")
        if (device := vendor.with_name("device"))
    )


def device_kind(installed: Versions, driver: int | None, *, tpu: bool) -> str:
    """Return the key of PART_OF for this machine.

    PyTorch brings CUDA 12's libraries, and JAX then uses the same files; those of CUDA 13 would be
    another 2 GB. A runtime without them gets CUDA 13 if its driver is new enough.
    """
    if driver is None:
        return "tpu" if tpu else "cpu"
    if driver < CUDA12_DRIVER:
        raise InstallError(f"the NVIDIA driver {driver} is too old: CUDA 12 needs {CUDA12_DRIVER}")
    has_cuda12 = "nvidia-cublas-cu12" in installed
    return "cuda12" if has_cuda12 or driver < CUDA13_DRIVER else "cuda13"


def strays(installed: Versions, kind: str) -> list[str]:
    """Return the installed plugins with which JAX would look for a device of another kind."""
    plugins = {part for parts in PART_OF.values() for part in parts if part.startswith("jax-")}
    return sorted(plugins.intersection(installed).difference(PART_OF[kind]))


def is_complete(installed: Versions, kind: str) -> bool:
    """Return whether the zoo, the stack (as pinned or newer) and the device's part are there."""
    needed = {"gpt-zoo", *pinned(), *PART_OF[kind]}
    return (
        needed <= set(installed)
        and all(_numbers(installed[name]) >= _numbers(pin) for name, pin in pinned().items())
        and not strays(installed, kind)
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def requirements(installed: Versions, kind: str) -> list[str]:
    """Return what pip is to install; of HELD, the versions that are installed."""
    jax = "jax" if kind == "cpu" else f"jax[{kind}]"
    return [jax, *(f"{name}=={installed[name]}" for name in HELD if name in installed)]


def _pip(*arguments: str) -> None:
    quietly = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore")
    command = [sys.executable, "-m", "pip", arguments[0], *quietly, *arguments[1:]]
    if subprocess.run(command, check=False).returncode:
        raise InstallError("pip failed, see above: nothing below can run")


def loaded_before(old: Versions, new: Versions) -> list[str]:
    """Return the modules of changed packages that this session had loaded already."""
    changed = {name for name in old if name in new and old[name] != new[name]}
    return sorted(
        module
        for module, names in metadata.packages_distributions().items()
        if module in sys.modules and changed & {name.lower() for name in names}
    )


def install(device: str) -> None:
    """Install what is missing for `device`: tpu, gpu, cpu, or any for whatever is here.

    Raises InstallError, before anything is installed, if this machine has another device.
    """
    started_s = time.monotonic()
    installed = versions()
    kind = device_kind(installed, nvidia_driver(), tpu=has_tpu(installed))
    here = "gpu" if kind.startswith("cuda") else kind
    if device not in (here, "any"):
        raise InstallError(
            f"this runtime has a {here} and no {device}: choose Runtime > Change runtime type, or "
            f'write DEVICE = "{here}"'
        )
    if is_complete(installed, kind):
        print(f"everything is here already, for {kind}")
        return
    print(f"installing JAX {pinned()['jax']} for {kind}: one to two minutes", flush=True)
    pins = ("--constraint", str(CONSTRAINTS))
    _pip("install", *pins, *requirements(installed, kind), "--editable", str(CHECKOUT))
    now = versions()
    if others := strays(now, kind):
        _pip("uninstall", "--yes", *others)
    importlib.invalidate_caches()
    changes = [f"{name} {installed.get(name, 'none')} -> {now[name]}" for name in pinned()]
    print(f"{', '.join(changes)}, in {time.monotonic() - started_s:.0f} s")
    if loaded := loaded_before(installed, now):
        raise InstallError(
            f"{', '.join(loaded)} changed after this session had loaded it: choose Runtime > "
            "Restart session, then Run all"
        )
