"""The pages in docs/ say what the commands do."""

import re
from pathlib import Path

import configs
from configs.experiment import Mesh
from zoo import diff
from zoo.distribution.sharding import mesh_shape
from zoo.explaining.model_card import model_card
from zoo.planning import hardware as topology
from zoo.planning import serving
from zoo.planning import training as planning
from zoo.planning.training import on_accelerator

DOCS = Path(__file__).parents[1] / "docs"
NANO = on_accelerator(configs.get("palm_nano"))
GPUS = topology.parse("h100:8", 1)


def test_every_json_field_is_documented_and_no_other():
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    of_describe, rest = page.split("## `python -m zoo.diff")
    of_diff, of_plan = rest.split("## `python -m zoo.plan")
    described = model_card("gpt3_175b")
    assert fields(of_describe) == set(described.to_json())
    assert fields(of_diff) == set(diff.to_json(described, described))
    plan = planning.estimate(NANO, GPUS, mesh_shape(Mesh(), 8)).summary("palm_nano")
    assert fields(of_plan) == set(plan)
    decode = serving.plan(NANO, GPUS, mesh_shape(Mesh(), 8), 8, compiles=False)
    for field in (*plan["bytes_per_device"], *plan["estimate"], *decode.summary("palm_nano")):
        assert f"`{field}`" in of_plan
    for choice in described.to_json()["choices"]:
        assert f"`{choice}`" in of_describe
    for number in diff.LABELS:
        assert f"`{number}`" in page


def fields(page: str) -> set[str]:
    """The names in code in the first column of the page's table."""
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}
