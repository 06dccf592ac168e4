"""The commands of the glossary that answer at once do answer."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

GLOSSARY = Path(__file__).parents[2] / "docs/glossary.md"
QUICK = ("zoo.describe", "zoo.diff", "zoo.plan", "zoo.ablate", "data.inspect")


def quick_commands() -> list[str]:
    commands = re.findall(r"^python -m (.*)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted({command for command in commands if command.split()[0] in QUICK})


@pytest.mark.parametrize("command", quick_commands())
def test_a_command_that_shows_a_term_runs(command, run_here):
    module, *flags = shlex.split(command)
    outcome = run_here(importlib.import_module(module).main, *flags)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout


def test_every_term_has_code_or_a_command():
    text = GLOSSARY.read_text(encoding="utf-8")
    terms = text.split("\n### ")[1:]
    assert len(terms) >= 30
    for term in terms:
        assert "python -m " in term, term[:40]
