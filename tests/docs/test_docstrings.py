"""Docstrings become reStructuredText without losing what they say."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs/extensions/docstrings.py"


@pytest.fixture
def to_rst():
    spec = importlib.util.spec_from_file_location("docstrings", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.to_rst


@pytest.mark.parametrize(
    ("plain", "rst"),
    [
        ("Return `x`.", "Return ``x``."),
        ("`x`s of **/*.txt", r"``x``\ s of \*\*/\*.txt"),
        ("a mark such as <|end|>", r"a mark such as <\|end\|>"),
        ("the name W_R and a_", r"the name W_R and a\_"),
        (">>> a * b", ">>> a * b"),
    ],
)
def test_a_line(plain, rst, to_rst):
    assert to_rst([plain]) == [rst]


def test_a_drawing_stays_as_it_is(to_rst):
    lines = ["A layer, drawn:", "", "    x --+", "    |   A", "", "and more *text*"]
    assert to_rst(lines) == [
        "A layer, drawn:",
        "",
        "::",
        "",
        "    x --+",
        "    |   A",
        "",
        r"and more \*text\*",
    ]
