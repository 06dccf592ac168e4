"""The pages in docs/ agree with the commands."""

import dataclasses
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import configs
from configs.experiment import Mesh
from tests.zoo.ablation.synthetic import finish, with_choices
from tests.zoo.benchmarking.results import result as bench_result
from tests.zoo.reporting.runs import make_run
from tests.zoo.scaling_laws.synthetic import grid
from zoo import diff, verify
from zoo.ablation.findings import Findings
from zoo.benchmarking.results import Change
from zoo.distribution.sharding import mesh_shape
from zoo.explaining.model_card import model_card
from zoo.explaining.recipe import Recipe
from zoo.inference.evaluation import Evaluation
from zoo.inference.speculative import Tally
from zoo.lessons import attention, feed_forward, heads, length_report
from zoo.lessons.catalog import Attention, FeedForward, Heads
from zoo.lessons.length import LossByPosition
from zoo.planning import hardware
from zoo.planning.serving import plan_serving
from zoo.planning.training import on_accelerator, plan_training
from zoo.reporting.comparison import Comparison
from zoo.reporting.recorded_run import read_run
from zoo.scaling_laws.fit import Question, fit
from zoo.scaling_laws.plan import plan as scaling_plan
from zoo.verification.comparison import Compared, RunComparison
from zoo.verification.verification import Verification

DOCS = Path(__file__).parents[2] / "docs"
NANO = on_accelerator(configs.get("palm_nano"))
GPUS = hardware.parse("h100:8", 1)


def test_every_json_field_is_documented_and_no_other(tmp_path):
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    of_describe, rest = page.split("## `python -m zoo.diff")
    of_describe, of_recipe = of_describe.split("## `python -m zoo.describe --model=NAME --recipe")
    of_diff, rest = rest.split("## `python -m zoo.plan")
    of_plan, rest = rest.split("## `python -m zoo.sample")
    of_sample, rest = rest.split("## `python -m zoo.ngram")
    of_ngram, rest = rest.split("## `python -m zoo.compare")
    of_compare, rest = rest.split("## `python -m zoo.verify")
    of_verify, rest = rest.split("## `python -m zoo.ablate")
    of_study, rest = rest.split("## `python -m zoo.scaling fit")
    of_fit, rest = rest.split("## `python -m zoo.scaling plan")
    of_budget, rest = rest.split("## `python -m zoo.scaling length")
    of_length, rest = rest.split("## `python -m zoo.demo")
    of_demo, of_bench = rest.split("## `python -m zoo.bench")
    described = model_card("gpt3_175b")
    assert fields(of_describe) == set(described.to_json())
    assert fields(of_recipe) == set(Recipe(described).to_json())
    assert fields(of_diff) == set(diff.to_json(described, described))
    plan = plan_training(NANO, GPUS, mesh_shape(Mesh(), 8)).summary("palm_nano")
    assert fields(of_plan) == set(plan)
    decode = plan_serving(NANO, GPUS, mesh_shape(Mesh(), 8), 8)
    for field in (*plan["bytes_per_device"], *plan["estimate"], *decode.summary("palm_nano")):
        assert f"`{field}`" in of_plan
    assert fields(of_sample) == {"checkpoint", "samples", "draft"}
    for field in Tally().to_json():
        assert f"`{field}`" in of_sample
    evaluated = Evaluation(1.0, 2, 3).to_json()
    counted = {"out", "order", "vocab_size", "num_tokens", "num_ngrams", "baselines"}
    assert fields(of_ngram) == counted
    assert all(f"`{field}`" in of_ngram for field in evaluated)
    compared = Comparison([read_run(make_run(tmp_path / "run"))]).to_json()
    assert fields(of_compare) == {*compared, "out"}
    for field in compared["runs"][0]:
        assert f"`{field}`" in of_compare
    nothing = Compared(0, [])
    comparison = RunComparison(nothing, nothing)
    verified = verify.to_json("palm_nano", Verification("1 x cpu (cpu)", {"stop": comparison}, []))
    assert fields(of_verify) == set(verified)
    for field in {**comparison.to_json(), **nothing.to_json()}:
        assert f"`{field}`" in of_verify
    study, _ = finish(tmp_path / "study", with_choices("norm"), noise=0.01)
    found = Findings.of(study).to_json()
    assert fields(of_study) == {*found, "workdir"}
    for part in (found["variants"][0], found["effects"]["path"][0], found["noise"]["path"]):
        for field in part:
            assert f"`{field}`" in of_study
    fitted = fit(grid(noise=0.01), Question(leave_out=1, num_resamples=1)).to_json()
    assert fields(of_fit) == {*fitted, "out"}
    for parts in ("fits", "left_out", "budgets", "held_out", "next_runs"):
        for field in fitted[parts][0]:
            assert f"`{field}`" in of_fit
    for field in fitted["fits"][0]["approaches"]["law (approach 3)"]:
        assert f"`{field}`" in of_fit
    budget = scaling_plan(1e21, ["h100:8"], 0.4).to_json()
    assert fields(of_budget) == set(budget)
    for parts in ("splits", "costs", "standings"):
        for field in budget[parts][0]:
            assert f"`{field}`" in of_budget
    nats = np.ones((2, 128))
    by_position = length_report.to_json(
        [LossByPosition("a", "rotary", 64, nats, nats, np.arange(2))]
    )
    assert fields(of_length) == {*by_position, "out"}
    (one,) = by_position["models"]
    for field in (*one, *one["parts"]["1 to 2"]):
        assert f"`{field}`" in of_length
    settings = FeedForward(base="palm_nano", seq_len=64, batch_tokens=512, num_tokens=5120)
    swiglu, _ = finish(tmp_path / "lesson", settings.study(), noise=0.01)
    lesson = feed_forward.shown(Findings.of(swiglu)).to_json()
    assert fields(of_demo) == {"lesson", *lesson, "out"}
    for parts in ("compared", "measured", "differences", "published"):
        for field in lesson[parts][0]:
            assert f"`{field}`" in of_demo
    few = Heads(num_heads=2, kv_heads=(2, 1), head_dim=8, num_layers=1, lengths=(128,), repeats=1)
    forms = Attention(lengths=(128, 256), head_dim=8, repeats=1)
    for shown in (heads.show(few, print), attention.show(forms, print)):
        for field in (*shown.compared[0], *shown.measured[0]):
            assert f"`{field}`" in of_demo
    measured = bench_result(1.0)
    assert fields(of_bench) == {*measured.to_json(), "change"}
    side = measured.figures["step_s"].to_json()
    for field in (*side, *(field.name for field in dataclasses.fields(Change))):
        assert f"`{field}`" in of_bench
    for choice in described.to_json()["choices"]:
        assert f"`{choice}`" in of_describe
    for number in diff.LABELS:
        assert f"`{number}`" in page


def fields(page: str) -> set[str]:
    """Return the names in backticks in the first column of the page's tables."""
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_example_of_training_from_a_program_runs(tmp_path, monkeypatch, capsys):
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (example,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
        if "zoo.train" in block
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(example)
    runpy.run_path(str(tmp_path / "example.py"))
    bits_per_byte, loss = map(float, capsys.readouterr().out.split())
    assert 0 < bits_per_byte < 8
    assert 0 < loss < 8
    assert (tmp_path / "runs" / "palm_nano" / "checkpoints" / "20").is_dir()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/ablation.md",
        "docs/evaluation.md",
        "docs/glossary.md",
        "docs/counting.md",
        "docs/ladder.md",
        "docs/launch.md",
        "docs/lessons.md",
        "docs/long_runs.md",
        "docs/measured.md",
        "docs/notebooks.md",
        "docs/plans.md",
        "docs/proofs.md",
        "docs/runs.md",
        "docs/scaling.md",
        "docs/start.md",
        "docs/weights.md",
    ],
)
def test_every_file_and_command_that_a_page_names_exists(page):
    root = DOCS.parent
    text = (root / page).read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:zoo|data|models|configs|tests|docs|colab)/[\w/]+\.\w+)`", text))
    commands = {
        name.replace(".", "/") for name in re.findall(r"python -m ((?:zoo|data)(?:\.\w+)+)", text)
    }
    assert files | commands
    example = {"configs/mypaper.py"}
    missing = {name for name in files - example if not (root / name).is_file()}
    missing |= {
        name
        for name in commands
        if not any((root / f"{name}{end}").is_file() for end in (".py", "/__main__.py"))
    }
    assert missing == set()
