"""The installation of the notebooks, against the packages of Colab's images and without a network.

`try_install.py` runs it for real.
"""

import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from colab import install

HERE = Path(__file__).parent
COLAB = {
    **{name: str(value) for name, value in default_environment().items()},
    "python_version": "3.13",
    "python_full_version": "3.13.5",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}
STACK = {"jax", "jaxlib", "flax", "orbax-checkpoint"}
"""Every image's are too old."""


def runtime(kind: str) -> dict[str, str]:
    """The versions of an image; `#` begins a comment."""
    lines = (HERE / f"runtime_{kind}.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def requirements(package: Requirement) -> Iterator[Requirement]:
    """What the version of the package in this environment requires on Colab.

    Nothing for a plugin that is not here, nor for another version than the pinned one.
    """
    name = canonicalize_name(package.name)
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        assert name.startswith("jax-cuda"), name
        return
    if install.pinned().get(name, found.version) != found.version:
        return
    for each in map(Requirement, found.requires or []):
        marker, extras = each.marker, ["", *package.extras]
        if marker is None or any(marker.evaluate({**COLAB, "extra": extra}) for extra in extras):
            yield each


def replaced(image: Mapping[str, str], kind: str) -> set[str]:
    """The packages of the image whose version pip has to change.

    A package that keeps its version keeps its requirements, too, which the image satisfies. Those
    of all others are followed: of packages that are new, and of those whose version changes.
    """
    pins, found = install.pinned(), {}
    changed = {name for name, version in pins.items() if image.get(name, version) != version}
    waiting = [Requirement(each) for each in ("gpt-zoo", *install.requirements(image, kind))]
    while waiting:
        package = waiting.pop()
        name = canonicalize_name(package.name)
        specifiers = found.setdefault(name, set())
        if name in image and not package.specifier.contains(image[name]):
            changed.add(name)
        if (name in changed or name not in image) and str(package) not in specifiers:
            waiting += requirements(package)
        specifiers.add(str(package))
    return changed & set(image)


@pytest.mark.parametrize(
    ("image", "kind", "others"),
    [
        ("tpu", "tpu", {"libtpu", "h5py"}),  # TensorFlow, which the image lacks, needs its h5py
        ("gpu", "cuda12", {"jax-cuda12-plugin", "rich"}),
        ("gpu", "cpu", {"rich"}),
    ],
)
def test_pip_replaces_the_jax_stack_and_little_else(image, kind, others):
    if install.pinned()["jax"] != importlib.metadata.version("jax"):
        # Only the pinned JAX says which of them it needs; a newer Python has a newer one.
        others = others - {"libtpu", "jax-cuda12-plugin"}
    changes = replaced(runtime(image), kind)
    assert changes == STACK | others
    assert "numpy" not in changes
    assert not [name for name in changes if name.startswith("nvidia-")]


def test_the_pinned_stack_is_one_that_the_zoo_accepts():
    pins = install.pinned()
    for each in map(Requirement, importlib.metadata.requires("gpt-zoo") or []):
        assert each.specifier.contains(pins.get(each.name, "")) or each.name not in pins
    assert STACK <= set(pins)
    assert canonicalize_name("numpy") not in pins, "the runtime's is held"


CUDA12 = {"nvidia-cublas-cu12": "12.8.4.1"}


@pytest.mark.parametrize(
    ("installed", "driver", "tpu", "kind"),
    [
        ({}, None, True, "tpu"),
        ({}, None, False, "cpu"),
        (CUDA12, 550, False, "cuda12"),
        (CUDA12, 580, False, "cuda12"),  # the libraries that are there serve a new driver, too
        ({}, 579, False, "cuda12"),
        ({}, 580, False, "cuda13"),
        (CUDA12, None, False, "cpu"),
    ],
)
def test_the_wheels_suit_the_device_and_its_driver(installed, driver, tpu, kind):
    assert install.device_kind(installed, driver, tpu=tpu) == kind


def test_a_driver_older_than_cuda_12_is_refused():
    with pytest.raises(install.InstallError, match="driver 470 is too old: CUDA 12 needs 525"):
        install.device_kind(CUDA12, 470, tpu=False)


def test_a_tpu_image_is_known_only_on_colab(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert not install.has_tpu({"libtpu": "0.0.21"})
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert install.has_tpu({"libtpu": "0.0.21"})
    assert not install.has_tpu({})


def test_plugins_of_another_jax_are_strays():
    both = dict.fromkeys([*install.PART_OF["cuda12"], *install.PART_OF["cuda13"], "libtpu"], "1")
    assert install.strays(both, "cuda13") == ["jax-cuda12-pjrt", "jax-cuda12-plugin"]
    assert len(install.strays(both, "cpu")) == 4
    assert install.strays({"libtpu": "1"}, "cpu") == []


def test_it_is_complete_with_the_pinned_versions_or_newer_ones():
    here = {**install.pinned(), "gpt-zoo": "0.1.0", "libtpu": "0.0.42"}
    assert install.is_complete(here, "tpu")
    assert install.is_complete(here | {"jax": "0.12.0.1", "jaxlib": "0.12.0.1"}, "tpu")
    assert not install.is_complete(here | {"jax": "0.9.9"}, "tpu")
    assert not install.is_complete(here, "cuda12")
    assert not install.is_complete(here | {"jax-cuda12-plugin": "0.7.2"}, "tpu")
    assert not install.is_complete(runtime("tpu"), "tpu")


class Pip:
    """Takes the place of pip: notes its commands, and makes what they would leave installed."""

    def __init__(self, before: Mapping[str, str], after: Mapping[str, str]):
        self.commands: list[tuple[str, ...]] = []
        self._states = [before, after, after]

    def __call__(self, *arguments: str) -> None:
        self.commands.append(arguments)

    def versions(self) -> Mapping[str, str]:
        return self._states.pop(0)


@pytest.fixture
def gpu_runtime(monkeypatch) -> Pip:
    """Colab's GPU image with a driver of CUDA 12, before and after pip."""
    before = runtime("gpu")
    pip = Pip(before, {**before, **install.pinned(), "gpt-zoo": "0.1.0"})
    monkeypatch.setattr(install, "_pip", pip)
    monkeypatch.setattr(install, "versions", pip.versions)
    monkeypatch.setattr(install, "nvidia_driver", lambda: 550)
    return pip


def test_one_pip_install_holds_numpy_and_keeps_the_cuda_libraries(gpu_runtime, monkeypatch, capsys):
    monkeypatch.setattr(install, "loaded_before", lambda old, new: [])
    install.install("gpu")
    (command,) = gpu_runtime.commands
    assert command[0] == "install"
    assert {"jax[cuda12]", "numpy==2.1.3", str(install.CONSTRAINTS)} <= set(command)
    assert re.search(r"jax 0\.7\.2 -> \d", capsys.readouterr().out)


def test_a_module_that_changed_while_it_was_loaded_asks_for_a_restart(gpu_runtime):
    """Jax, flax and others are loaded in this process."""
    assert "jax" in sys.modules or __import__("jax")
    with pytest.raises(install.InstallError, match="jax.* changed after .* Restart session"):
        install.install("gpu")


def test_another_device_than_the_settings_name_is_refused_before_pip(gpu_runtime):
    with pytest.raises(install.InstallError, match="has a gpu and no tpu"):
        install.install("tpu")
    assert gpu_runtime.commands == []
