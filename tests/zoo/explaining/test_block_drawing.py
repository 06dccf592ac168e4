"""The drawing of a model shows its choices, and nothing sticks out of it."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import configs
from zoo.explaining.block_drawing import block_picture, block_svg

READMES_PICTURE = Path(__file__).parents[3] / "docs/static/palm_layer.svg"

SVG = re.compile(r'viewBox="0 0 (\d+) (\d+(?:\.\d+)?)"')


def texts(name: str) -> list[str]:
    root = ET.fromstring(block_svg(configs.get(name).model))
    return [element.text or "" for element in root.iter("text")]


@pytest.mark.parametrize(
    "name", ["gpt1_117m", "gpt3_175b", "gopher_280b", "palm_540b", "llama_65b"]
)
def test_everything_lies_inside(name):
    drawn = block_svg(configs.get(name).model)
    root = ET.fromstring(drawn)
    found = SVG.search(drawn)
    assert found is not None
    width, height = map(float, found.groups())
    for box in root.iter("rect"):
        left, top, wide, high = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        assert 0 <= left < left + wide <= width
        assert 0 <= top < top + high <= height
    for text in root.iter("text"):
        # A box has room for some 40 characters of its second line, and 30 of its first.
        assert len(text.text or "") <= (30 if text.attrib["font-size"] == "15" else 48)


def test_norms_stand_where_the_layout_puts_them():
    assert texts("gpt1_117m")[3:7] == [
        "Multi-head attention",
        "12 heads of 64",
        "LayerNorm",
        "Feed-forward",
    ]
    assert texts("gopher_280b")[3:7] == [
        "RMSNorm",
        "Multi-head attention",
        "128 heads of 128, relative positions",
        "RMSNorm",
    ]


def test_parallel_branches_share_a_norm():
    drawn = texts("palm_540b")
    assert drawn.count("LayerNorm without bias") == 2  # one of the layer, and the final one
    assert "Multi-query attention" in drawn
    assert "118 layers" in drawn


def test_bands_and_the_output_matrix_are_named():
    assert "96 heads of 128, dense or a band of 256" in texts("gpt3_175b")
    assert "separate" in texts("llama_65b")
    assert "tied to the embedding" in texts("gpt3_175b")


def test_the_picture_of_the_readme_is_the_drawing_of_today():
    picture = block_picture(configs.get("palm_540b").model)
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert READMES_PICTURE.read_text() == picture + "\n"
