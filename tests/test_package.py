"""The wheel: it has all that the commands need, outside the checkout too."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from zoo import __main__ as overview

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the files of the wheel, as pip would put them."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    build = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    source = tmp_path_factory.mktemp("source") / "checkout"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        text=True,
        capture_output=True,
    ).stdout.splitlines()
    for name in tracked:
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run(
        [sys.executable, "-c", build, str(wheels)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_outside(installed: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the installed packages in a folder that is no checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(installed)},
        text=True,
        capture_output=True,
    )


def test_every_command_answers_outside_the_checkout(installed, tmp_path):
    process = run_outside(installed, tmp_path, "-m", "zoo")
    assert process.returncode == 0, process.stderr
    for modules in overview.COMMANDS.values():
        for module in modules:
            assert f"python -m {module} " in process.stdout
    place = run_outside(installed, tmp_path, "-c", "import zoo, data; print(zoo.__file__)")
    assert Path(place.stdout).is_relative_to(installed)


def test_a_model_trains_outside_the_checkout(installed, tmp_path, corpus_glob):
    process = run_outside(
        installed,
        tmp_path,
        "-m",
        "zoo.train",
        "--model=palm_nano",
        "--model.vocab-size=400",
        "--num-steps=1",
        f"--data.files={corpus_glob}",
    )
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "runs/palm_nano/report.html").is_file()


def test_the_wheel_has_the_license_and_no_tests(installed):
    (license_file,) = installed.glob("*.dist-info/licenses/LICENSE")
    assert license_file.read_text() == (REPOSITORY / "LICENSE").read_text()
    assert not (installed / "tests").exists()
