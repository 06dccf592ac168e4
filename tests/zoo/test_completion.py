"""The shell completion, asked by bash as it asks while somebody types."""

import subprocess
import sys
from pathlib import Path

import pytest

import configs
from zoo import __main__ as overview

ASK = """\
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_gpt_zoo
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "script.sh"
    command = [sys.executable, "-m", "zoo", "--completion"]
    path.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return path


def offered(script: Path, words: str) -> list[str]:
    """Return what bash offers for the last of the words; it takes --flag=value apart."""
    program = script.read_text() + ASK.format(words=words)
    shell = subprocess.run(
        ["bash", "--norc", "-c", program], check=True, capture_output=True, text=True
    )
    assert not shell.stderr
    return shell.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("python -m zoo.pl", ["zoo.plan"]),
        ("python -X dev -m zoo.comp", ["zoo.compare"]),
        ("python -m zoo.train --workd", ["--workdir"]),
        ("python -m zoo.train --model = palm_sm", ["palm_small"]),
        ("python -m zoo.train --model palm_sm", ["palm_small"]),
        ("python -m zoo.train --model=palm_sm", ["--model=palm_small"]),  # in one piece, as in zsh
        ("python -m zoo.train --model.layout = p", ["post_norm", "pre_norm", "parallel"]),
        ("python -m zoo.scaling le", ["length"]),
        ("python -m zoo.scaling length --max-l", ["--max-length"]),
        ("python -m zoo.train --workdir = ru", []),  # then files are offered
        ("python -m other.module --mo", []),
        ("python program.py", []),
    ],
)
def test_the_last_word_is_completed(words, expected, script):
    assert offered(script, words) == expected


def test_all_commands_and_all_models_are_offered(script):
    modules = [module for group in overview.COMMANDS.values() for module in group]
    assert offered(script, "python -m ''") == modules
    models = [*configs.MODELS, *configs.CONTRAST_MODELS]
    assert offered(script, "python -m zoo.train --model =") == models
