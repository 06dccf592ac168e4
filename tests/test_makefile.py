"""The Makefile takes the newest Python that works."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def dry_run(tmp_path):
    """Returns what `make` would do where each of some Pythons works or does not."""

    def make(works: dict[str, bool], *arguments: str) -> subprocess.CompletedProcess[str]:
        commands = tmp_path / "bin"
        commands.mkdir()
        for name in ("make", "sh"):
            (commands / name).symlink_to(str(shutil.which(name)))
        for name, does in works.items():
            (commands / name).write_text(f"#!/bin/sh\nexit {0 if does else 127}\n")
            (commands / name).chmod(0o755)
        target = f"VENV={tmp_path}/venv", f"{tmp_path}/venv/bin/python"
        # `make test` tells this make that it is a part of it.
        others = {"PYTHON", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
        environment = {k: v for k, v in os.environ.items() if k not in others}
        return subprocess.run(
            ["make", "--dry-run", *target, *arguments],
            check=False,
            cwd=REPOSITORY,
            env=environment | {"PATH": str(commands)},
            text=True,
            capture_output=True,
        )

    return make


@pytest.mark.parametrize(
    ("works", "chosen"),
    [
        ({"python3.13": True, "python3.12": True, "python3": True}, "python3.13"),
        # As pyenv leaves it: the command exists, and fails.
        ({"python3.13": False, "python3.12": True, "python3": True}, "python3.12"),
        ({"python3.12": False, "python3": True}, "python3"),
    ],
)
def test_the_newest_python_that_works_is_taken(works, chosen, dry_run):
    assert dry_run(works).stdout.startswith(f"{chosen} -m venv ")


def test_another_python_can_be_named(dry_run):
    assert dry_run({"python3.13": True}, "PYTHON=python3.11").stdout.startswith(
        "python3.11 -m venv"
    )


def test_without_a_python_the_message_says_what_to_install(dry_run):
    process = dry_run({"python3": False})
    assert process.returncode == 2
    assert "there is no Python >= 3.11 with venv; install one" in process.stderr
