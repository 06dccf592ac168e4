"""The output and the exit codes of the command."""

import json

import pytest

from zoo import plan
from zoo.planning import compilation

FITS = ["--model=palm_nano", "--topology=h100:8", "--mesh.fsdp=4", "--mesh.tensor=2"]
TOO_LARGE = ["--model=llama_65b", "--topology=a100_80gb:8", "--mesh.fsdp=8"]


@pytest.fixture(autouse=True)
def without_cuda_wheels(monkeypatch):
    """These tests are about the command; test_compilation.py compiles for GPUs."""
    monkeypatch.setattr(compilation, "has_cuda_wheels", lambda: False)


def test_json_has_the_documented_keys(run_here):
    outcome = run_here(plan.main, *FITS, "--json")
    assert outcome.code == 0, outcome.stderr
    summary = json.loads(outcome.stdout)
    assert summary["model"] == "palm_nano"
    assert summary["num_devices"] == 8
    assert summary["mesh"] == {"pipeline": 1, "data": 1, "fsdp": 4, "sequence": 1, "tensor": 2}
    parts = summary["bytes_per_device"]
    assert {"params", "optimizer", "gradients", "temporaries", "total"} <= set(parts)
    assert parts["total"] == sum(size for name, size in parts.items() if name != "total")
    assert summary["hbm_bytes"] == 80_000_000_000
    assert (summary["fits"], summary["source"], summary["compile_s"]) == (True, "estimated", None)
    assert summary["flops_per_step"] > 0
    fields = {"kind", "count", "bytes", "network_bytes", "across_slices"}
    assert set(summary["collectives"][0]) == fields


def test_json_has_the_prediction_and_the_published_run_that_is_nearest(run_here):
    summary = json.loads(run_here(plan.main, *FITS, "--json").stdout)
    predicted = summary["prediction"]
    parts = ("products_s", "attention_s", "memory_s", "exposed_s")
    assert predicted["step_s"] == pytest.approx(sum(predicted[part] for part in parts))
    assert 0 < predicted["mfu"] < summary["estimate"]["mfu"] <= 1
    assert predicted["nearest_run"]["name"] == "MPT-1B"
    assert predicted["is_far"] is True  # palm_nano fills no H100


def test_a_prediction_far_from_any_published_run_says_so(run_here):
    assert "MORE THAN 15 POINTS AWAY" in run_here(plan.main, *FITS).stdout


def test_the_table_marks_an_estimate(run_here):
    outcome = run_here(plan.main, *FITS)
    assert "estimated, not compiled" in outcome.stdout
    assert "fits" in outcome.stdout
    assert "MFU at most" in outcome.stdout
    assert "MFU probably" in outcome.stdout
    assert "nearest published" in outcome.stdout


def test_a_plan_that_does_not_fit_exits_5_with_the_breakdown_and_three_remedies(run_here):
    outcome = run_here(plan.main, *TOO_LARGE, "--json")
    assert outcome.code == 5
    assert json.loads(outcome.stdout)["fits"] is False
    assert "temporaries" in outcome.stderr
    assert outcome.stderr.count("\n  ") == 3
    assert "Traceback" not in outcome.stderr


def test_search_prints_the_ranking_and_the_best(run_here):
    flags = ["--model=llama_7b", "--topology=h100:64", "--search"]
    summary = json.loads(run_here(plan.main, *flags, "--json").stdout)
    assert summary["best"] == summary["ranked"][0]
    assert "fit by the estimate" in run_here(plan.main, *flags).stdout


def test_a_search_that_finds_nothing_is_a_config_error(run_here):
    outcome = run_here(plan.main, "--model=palm_540b", "--topology=h100:8", "--search")
    assert outcome.code == 2
    assert "fits no mesh of h100:8" in outcome.stderr


@pytest.mark.parametrize(
    ("short", "spelled_out"),
    [
        (["--decode", "--decode-batch=8"], ["--goal=decode", "--decode-batch=8"]),
        (["--estimate-only"], ["--effort=estimate"]),
        (["--quick"], ["--effort", "quick"]),
    ],
)
def test_short_forms_mean_the_words(short: list[str], spelled_out: list[str], run_here):
    outcomes = [run_here(plan.main, *FITS, *flags, "--json") for flags in (short, spelled_out)]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert outcomes[0].stdout == outcomes[1].stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--decode", "--search"], "--goal=decode and --goal=search exclude each other"),
        (["--goal", "train", "--search"], "--goal=search and --goal=train exclude each other"),
        (["--quick", "--effort=full"], "--effort=full and --effort=quick exclude each other"),
    ],
)
def test_a_contradiction_exits_2(flags: list[str], message: str, run_here):
    outcome = run_here(plan.main, *FITS, *flags)
    assert outcome.code == 2
    assert message in outcome.stderr


def test_decode_bounds_the_tokens(run_here):
    flags = ["--model=llama_7b", "--topology=h100:1", "--decode", "--decode-batch=1"]
    summary = json.loads(run_here(plan.main, *flags, "--json").stdout)
    weights = summary["bytes_per_device"]["weights"]
    assert weights == pytest.approx(2 * 6.74e9, rel=0.01)
    assert summary["estimate"]["tokens_per_s"] == pytest.approx(3350e9 / weights, rel=0.1)
    too_many = run_here(plan.main, *flags[:-1], "--decode-batch=4096")
    assert too_many.code == 5
    assert "--decode-batch=2048" in too_many.stderr


def test_an_unknown_topology_exits_2(run_here):
    outcome = run_here(plan.main, "--model=palm_nano", "--topology=v9:4x4")
    assert outcome.code == 2
    assert "v4:XxYxZ" in outcome.stderr


def test_without_libtpu_a_tpu_is_estimated_and_a_line_says_it(run_here, monkeypatch):
    monkeypatch.setattr(compilation, "can_compile", lambda: False)
    outcome = run_here(plan.main, "--model=palm_nano", "--topology=v5e:2x2", "--mesh.fsdp=4")
    assert outcome.code == 0
    assert "libtpu is missing" in outcome.stderr
    assert "estimated, not compiled" in outcome.stdout


def test_without_the_cuda_wheels_gpus_are_estimated_and_a_line_says_why_and_the_remedy(run_here):
    outcome = run_here(plan.main, *FITS)
    assert outcome.code == 0
    assert "the CUDA wheels are missing; to compile instead of estimating" in outcome.stderr
    assert 'pip install "gpt-zoo[gpu]"' in outcome.stderr
    assert "estimated, not compiled" in outcome.stdout
    assert "CUDA" not in run_here(plan.main, *FITS, "--estimate-only").stderr
