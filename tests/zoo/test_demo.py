"""`python -m zoo.demo` as a person runs it."""

import importlib
import json
from typing import Any, cast

import pytest

from tests.zoo.reporting.browser import load, needs_browser
from tests.zoo.reporting.pages import parse
from zoo import demo
from zoo.lessons.catalog import LESSONS

NANO = [
    "heads", "--num-heads=2", "--kv-heads", "2", "1", "--head-dim=8", "--num-layers=1",
    "--lengths", "128", "--batch-sizes", "1", "--repeats=2",
]  # fmt: skip


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_without_a_name_the_lessons_are_listed_with_a_line_each(argv, run_here):
    outcome = run_here(demo.main, *argv)
    assert outcome.code == 0
    for name, kind in LESSONS.items():
        (line,) = (each for each in outcome.stdout.splitlines() if each.startswith(f"  {name} "))
        assert kind.line() in line
    listed = json.loads(run_here(demo.main, "--json").stdout)
    assert list(listed["lessons"]) == list(LESSONS)


def test_every_lesson_has_a_file_of_its_name_and_writes_to_one():
    for name, kind in LESSONS.items():
        assert importlib.import_module(f"zoo.lessons.{name}").show
        assert cast(Any, kind)().out == f"{name}.html"


def test_a_lesson_prints_tables_and_writes_a_page(tmp_path, run_here):
    out = tmp_path / "heads.html"
    outcome = run_here(demo.main, *NANO, f"--out={out}")
    assert outcome.code == 0, outcome.stderr
    for part in ("Decode loop", "multi-head, 2 KV", "multi-query, 1 KV", "Seen"):
        assert part in outcome.stdout
    assert f"wrote {out}" in outcome.stderr
    page = parse(out.read_text())
    assert page.tags.count("figure") == 2
    assert "python -m zoo.demo heads --num-heads=2" in page.text
    assert "a query for every head" in page.text


def test_json_is_one_object_and_pictures_are_files(tmp_path, run_here):
    out = tmp_path / "heads.svg"
    outcome = run_here(demo.main, *NANO, f"--out={out}", "--json")
    found = json.loads(outcome.stdout)
    assert list(found) == [
        "lesson", "title", "device", "seen", "compared", "measured", "differences", "published",
        "out",
    ]  # fmt: skip
    assert found["lesson"] == "heads"
    assert "<svg" in out.read_text()


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page_on_a_phone_and_on_a_desk(width, tmp_path, run_here):
    out = tmp_path / "heads.html"
    assert run_here(demo.main, *NANO, f"--out={out}").code == 0
    document, log = load(out.as_uri(), tmp_path / "profile", f"--window-size={width},900")
    assert parse(document).tags.count("figure") == 2
    assert "CONSOLE" not in log


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing"], "there is no lesson 'nothing'; write the name first, one of heads, "),
        (["--out=a.html"], "there is no lesson '--out=a.html'"),
        (["heads", "--out=a.txt"], "--out=a.txt must end in .html, .png, .svg, .pdf"),
        (["heads", "--out=/nowhere/a.html"], "--out=/nowhere/a.html cannot be written"),
        (["heads", "--repeats=0"], "repeats=0 must be above zero"),
        (["heads", "--kv-heads", "2", "2"], "--kv-heads=(2, 2) must hold at least one number"),
        (["heads", "--kv-heads", "8"], "--kv-heads=(8,) must hold two numbers or more"),
        (["heads", "--kv-heads", "8", "3"], "num_kv_heads=3 must divide num_heads=8"),
        (["attention", "--lengths", "512"], "must hold two numbers or more"),
        (["feed_forward", "--base=gpt9"], "gpt9"),
        (["feed_forward", "--seeds=1"], "seeds=1 must be at least 2"),
        (["vocabularies", "--family=gpt9", "--num-bytes=1e5"], "--family=gpt9 is not in the zoo"),
    ],
)
def test_a_mistake_is_one_message_with_code_2(argv, message, run_here):
    outcome = run_here(demo.main, *argv)
    assert outcome.code == 2
    assert message in outcome.stderr.replace("\n", " ")
    assert "Traceback" not in outcome.stderr
