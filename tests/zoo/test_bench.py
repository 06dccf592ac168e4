"""The command: real measurements of a model that takes no time, and its refusals."""

import json
from pathlib import Path

import pytest

from zoo import bench

COMPARED = [
    "--model=gpt2_nano",
    "--what=train,decode",
    "--against=transformers",
    "--repeats=3",
    "--sequences=2",
]


def test_every_compared_figure_has_a_ratio(run_here, tmp_path: Path):
    path = tmp_path / "results.jsonl"
    outcome = run_here(bench.main, *COMPARED, f"--results={path}", "--json")
    assert outcome.code == 0, outcome.stderr
    results = json.loads(outcome.stdout)["results"]
    assert [result["what"] for result in results] == ["train", "decode"]
    assert [json.loads(line) for line in path.read_text().splitlines()] == results
    for result in results:
        first = next(iter(result["figures"].values()))
        assert len(first["zoo"]["values"]) == len(first["transformers"]["values"]) == 3
        for name, figure in result["figures"].items():
            if "ratio" not in figure:  # a side's loop was too short to be timed
                assert name in ("loop_tokens_per_s", "bandwidth_share")
                continue
            ours, theirs, ratio = figure["zoo"], figure["transformers"], figure["ratio"]
            pairs = zip(ours["values"], theirs["values"], strict=True)
            lower = ours["better"] == "lower"
            times = sorted(b / a if lower else a / b for a, b in pairs if a)
            if times:
                assert ratio["median"] == pytest.approx(times[len(times) // 2])
        assert result["figures"]["peak_bytes"]["zoo"]["median"] > 1e8
        assert result["versions"]["transformers"]
        assert result["change"] is None
    assert results[1]["memory_bytes_per_s"]


def test_the_next_run_is_compared_with_this_one(run_here, tmp_path: Path):
    flags = ["--model=palm_nano", "--what=input", "--repeats=2", f"--results={tmp_path / 'r'}"]
    assert "rows of whole documents" in run_here(bench.main, *flags).stdout
    assert "times" in run_here(bench.main, *flags).stdout
    markdown = run_here(bench.main, *flags, "--markdown").stdout.splitlines()
    assert markdown[2].startswith("| input | palm_nano | rows of 64 tokens |")
    assert len({line.count("|") for line in markdown}) == 1


def test_int8_weights_are_measured_as_the_fewer_bytes_that_they_are(run_here, tmp_path: Path):
    flags = ["--model=gpt2_nano", "--what=decode", "--repeats=1", f"--results={tmp_path / 'r'}"]
    read = {}
    for weights in ("run", "int8"):
        outcome = run_here(bench.main, *flags, f"--weights={weights}", "--json")
        assert outcome.code == 0, outcome.stderr
        result = json.loads(outcome.stdout)["results"][0]
        assert ("int8 weights" in result["workload"]) == (weights == "int8")
        assert result["change"] is None  # other work, so that nothing is compared
        read[weights] = result["bytes_per_drawn_token"]
    assert read["run"] / 4 < read["int8"] < read["run"] / 2


def test_startup_is_timed_with_the_commands_themselves(run_here, tmp_path: Path):
    flags = ["--model=palm_nano", "--what=startup", "--repeats=1", f"--results={tmp_path / 'r'}"]
    outcome = run_here(bench.main, *flags, "--json")
    assert outcome.code == 0, outcome.stderr
    figures = json.loads(outcome.stdout)["results"][0]["figures"]
    assert set(figures) == {"help_s", "first_token_cold_s", "first_token_warm_s"}
    assert all(figure["zoo"]["median"] > 0 for figure in figures.values())


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--what=train,speed"], 2, "'speed'; write one or more of train,prefill,decode"),
        (["--what="], 2, "write one or more of"),
        (["--repeats=0"], 2, "repeats=0 must be above zero"),
        (["--new-tokens=1"], 2, "with 2 new tokens at least"),
        (["--prompt-tokens=64"], 2, "must fit in the model's context_length=64"),
        (["--json", "--markdown"], 2, "exclude each other"),
        (["--weights=int8", "--what=train"], 2, "for prefill and decode of the zoo alone"),
        (["--weights=int8", "--against=transformers"], 2, "without --against"),
        (["--against=transformers"], 2, "no architecture with this model's choices"),
        (["--against=transformers", "--what=input"], 2, "nothing to compare --what=input with"),
        (["--results=tests/zoo/test_bench.py"], 3, "line 1, is not a result of zoo.bench"),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_measured(flags, code, message, run_here):
    outcome = run_here(bench.main, "--model=palm_nano", *flags)
    assert outcome.code == code
    assert message in " ".join(outcome.stderr.replace("│", " ").split())
    assert "first call" not in outcome.stderr
