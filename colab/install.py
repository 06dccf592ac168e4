"""Replace the JAX stack of a Colab runtime by the zoo's; the first cell of every notebook runs it.

The zoo needs a newer JAX than the runtime has. One `pip install` brings the pinned versions of
`constraints.txt`, for the TPU, the GPU or the CPU that is here, into the runtime itself: it has one
JAX afterwards, and so has the notebook's own process, which a TPU requires. Then the plugins that
belong to another JAX are removed, since JAX loads all that it finds. NumPy keeps the runtime's
version, for the session may have loaded it. Only the standard library is needed.
"""

import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
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

Versions = Mapping[str, str]


def versions() -> Versions:
    """Return the version of every installed package."""
    return {each.name.lower(): each.version for each in metadata.distributions()}


def pinned() -> Versions:
    """Return the versions of `constraints.txt`."""
    lines = (HERE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def nvidia_driver() -> int | None:
    """Return the major version of the NVIDIA driver, or None without a GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, check=False, capture_output=True, text=True)
    return int(answer.stdout.split(".")[0]) if answer.returncode == 0 else None


def has_tpu(installed: Versions) -> bool:
    """Return whether this is a machine with TPUs, or an image made for one."""
    devices = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return bool(devices) or "libtpu" in installed


def device_kind(installed: Versions, driver: int | None, *, tpu: bool) -> str:
    """Return the key of PART_OF for this machine.

    PyTorch brings CUDA 12's libraries, and JAX then uses the same files; those of CUDA 13 would be
    another 2 GB. A runtime without them gets CUDA 13 if its driver is new enough.
    """
    if driver is None:
        return "tpu" if tpu else "cpu"
    if driver < CUDA12_DRIVER:
        sys.exit(f"the NVIDIA driver {driver} is too old: CUDA 12 needs {CUDA12_DRIVER} or newer")
    has_cuda12 = "nvidia-cublas-cu12" in installed
    return "cuda12" if has_cuda12 or driver < CUDA13_DRIVER else "cuda13"


def strays(installed: Versions, kind: str) -> list[str]:
    """Return the installed plugins with which this JAX would look for devices of another kind."""
    parts = {part for parts in PART_OF.values() for part in parts} - set(PART_OF[kind])
    return sorted(part for part in parts if part in installed and part != "libtpu")


def is_complete(installed: Versions, kind: str) -> bool:
    """Return whether the pinned versions, the device's part and the zoo itself are installed."""
    needed = {"gpt-zoo", *PART_OF[kind]}
    has_pinned = pinned().items() <= dict(installed).items()
    return has_pinned and needed <= set(installed) and not strays(installed, kind)


def pip(*arguments: str) -> None:
    """Run pip, and leave if it fails."""
    if subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode:
        sys.exit("pip failed, see above: nothing below can run")


def install(installed: Versions, kind: str) -> None:
    """Install the zoo with its pinned JAX for the device, and remove other plugins."""
    held = [f"{name}=={installed[name]}" for name in HELD if name in installed]
    constraints = HERE.parent / "build/notebook-constraints.txt"
    constraints.parent.mkdir(exist_ok=True)
    pins = [f"{name}=={version}" for name, version in pinned().items()]
    constraints.write_text("\n".join([*pins, *held]) + "\n", encoding="utf-8")
    jax = "jax" if kind == "cpu" else f"jax[{kind}]"
    quietly = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore")
    pip("install", *quietly, "--constraint", str(constraints), jax, "--editable", str(HERE.parent))
    if others := strays(versions(), kind):
        pip("uninstall", "--quiet", "--yes", *others)


def loaded_before(old: Versions, new: Versions) -> list[str]:
    """Return the packages that changed although this session had loaded them already."""
    changed = {name for name in old if name in new and old[name] != new[name]}
    modules = metadata.packages_distributions()
    return sorted(
        module
        for module, names in modules.items()
        if module in sys.modules and changed & {name.lower() for name in names}
    )


def main() -> None:
    """Install what is missing, and say what happened."""
    started_s = time.monotonic()
    installed = versions()
    kind = device_kind(installed, nvidia_driver(), tpu=has_tpu(installed))
    if is_complete(installed, kind):
        print(f"everything is here already, for this {kind}")
        return
    install(installed, kind)
    importlib.invalidate_caches()
    now = versions()
    changes = [f"{name} {installed.get(name, 'none')} -> {now[name]}" for name in pinned()]
    print(f"{', '.join(changes)}; for {kind}, in {time.monotonic() - started_s:.0f} s")
    if loaded := loaded_before(installed, now):
        sys.exit(f"{', '.join(loaded)} changed after this session had loaded it: choose Runtime > "
                 "Restart session, then Run all")  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))  # for `%run`: the session started before the installation
    main()
