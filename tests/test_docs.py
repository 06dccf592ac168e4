"""The pages in docs/ say what the commands do."""

import re
from pathlib import Path

from zoo import diff
from zoo.description import describe

DOCS = Path(__file__).parents[1] / "docs"


def test_every_json_field_is_documented_and_no_other():
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    of_describe, of_diff = page.split("## `python -m zoo.diff")
    described = describe("gpt3_175b")
    assert fields(of_describe) == set(described.to_json())
    assert fields(of_diff) == set(diff.to_json(described, described))
    for choice in described.to_json()["choices"]:
        assert f"`{choice}`" in of_describe
    for number in diff.LABELS:
        assert f"`{number}`" in page


def fields(page: str) -> set[str]:
    """The names in code in the first column of the page's table."""
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}
