"""The warning about an accelerator that JAX does not use, on machines made up here."""

from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from zoo.distribution import devices


@pytest.fixture
def machine(monkeypatch):
    """A machine of which JAX uses the CPU: with these device files, programs and variables."""

    def make(files=(), programs=(), variables=(), platforms=None, backend="cpu"):
        config = SimpleNamespace(values={"jax_platforms": platforms})
        fake = SimpleNamespace(default_backend=lambda: backend, config=config)
        monkeypatch.setattr(devices, "jax", fake)
        monkeypatch.setattr(Path, "exists", lambda path: str(path) in files)
        monkeypatch.setattr(Path, "glob", lambda path, pattern: [f for f in files if "accel" in f])
        monkeypatch.setattr(devices.shutil, "which", lambda program: program in programs or None)
        monkeypatch.delenv("TPU_NAME", raising=False)
        for variable in variables:
            monkeypatch.setenv(variable, "x")

    return make


@pytest.mark.parametrize(
    ("described", "named"),
    [
        ({"files": ["/dev/nvidiactl"]}, "NVIDIA GPU"),
        ({"programs": ["nvidia-smi"]}, "NVIDIA GPU"),
        ({"files": ["/dev/accel0"]}, "TPU"),
        ({"variables": ["TPU_NAME"]}, "TPU"),
    ],
)
def test_an_unused_accelerator_is_named_with_the_remedy(described, named, machine):
    machine(**described)
    complaint = devices.unused_accelerator()
    assert complaint is not None
    assert f"{named} is present but JAX runs on the CPU: pip install" in complaint


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"files": ["/dev/nvidiactl"], "backend": "gpu"},
        {"files": ["/dev/nvidiactl"], "platforms": "cpu"},  # the user asked for the CPU
    ],
)
def test_silent_where_there_is_nothing_to_mend(described, machine):
    machine(**described)
    assert devices.unused_accelerator() is None


def test_devices_are_described_by_number_and_kind():
    description = devices.describe_devices()
    assert description == f"{jax.device_count()} x cpu (cpu)"
    assert devices.read_description(description) == (jax.device_count(), "cpu")
    assert devices.read_description("8 x TPU v4 (tpu) of 2 processes") == (8, "tpu")


def test_fake_devices_have_threads_to_wait_for_each_other(run_process, tmp_path):
    """A device may wait in several collectives at once, and every wait takes a thread."""
    program = (
        "import os\n"
        "from zoo.distribution.devices import configure, describe_devices\n"
        f"configure(cache_dir={str(tmp_path)!r}, fake_devices=3)\n"
        "import jax\n"
        "print(describe_devices(), os.environ['NPROC'], jax.config.jax_compilation_cache_dir)"
    )
    process = run_process("-c", program)
    assert process.stdout.strip() == f"3 x cpu (cpu) 24 {tmp_path}/xla", process.stderr
