"""The configs and the pages say what to expect of a `_small` run; palm_small does it."""

import dataclasses
import re
from pathlib import Path

import pytest

import configs
from zoo.train import train

PAGE = Path(__file__).parents[2] / "docs/small_models.md"
STEPS = 150
TOLERANCE = 0.03
"""Bits per byte by which runs of other CPUs and versions may differ after STEPS steps; three seeds
differ by 0.05."""


def expected(family: str) -> str:
    """Return the bits per byte that the docstring of a family's file promises."""
    text = " ".join((configs.FAMILIES[family].__doc__ or "").split())
    (bits,) = re.findall(rf"`{family}_small`.* reaches ([\d.]+) bits per byte", text)
    return bits


@pytest.mark.parametrize("family", configs.FAMILIES)
def test_the_config_and_the_page_expect_the_same(family):
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if line.startswith(f"| `{family}_small`"))
    assert f"| **{expected(family)}** |" in row


def test_the_first_steps_of_palm_small_are_as_its_config_says(tmp_path):
    text = " ".join((configs.FAMILIES["palm"].__doc__ or "").split())
    (bits,) = re.findall(rf"([\d.]+) after its first {STEPS} steps", text)
    # The rate and the batch of a step do not depend on the length of PaLM's run.
    run = dataclasses.replace(configs.get("palm_small"), num_steps=STEPS)
    found = train(run, tmp_path / "run").evaluation["eval/bits_per_byte"]
    assert found == pytest.approx(float(bits), abs=TOLERANCE)
