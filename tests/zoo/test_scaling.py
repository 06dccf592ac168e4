import csv
import json
import math
import time

import pytest

from tests.zoo.conftest import DEADLINE_S, start
from tests.zoo.reporting.pages import parse
from tests.zoo.scaling_laws.synthetic import TRUE, grid
from zoo import scaling
from zoo.checkpoints import checkpoint
from zoo.reporting.record import read_record
from zoo.scaling_laws.sizes import num_params
from zoo.scaling_laws.study import Trained


@pytest.fixture
def points(tmp_path) -> str:
    runs = grid(noise=0.002)
    file = tmp_path / "runs.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["params", "tokens", "loss"])
        loss = runs.loss.copy()
        loss[3] *= 1.2
        writer.writerows(zip(runs.params, runs.tokens, loss, strict=True))
    return str(file)


def test_fit_prints_tables_and_writes_a_page(points, tmp_path, run_here):
    out = tmp_path / "law.html"
    flags = ["fit", f"--points={points}", f"--out={out}", "--resamples=4"]
    outcome = run_here(scaling.main, *flags)
    assert outcome.code == 0, outcome.stderr
    for text in ("all 28 runs", "without 1 runs", "Runs that do not fit the law", "The next run"):
        assert text in outcome.stdout
    page = parse(out.read_text())
    assert page.tags.count("figure") == 3
    assert "variable projection" in page.text
    assert f"wrote {out}" in outcome.stderr.replace("\n", "")
    drawn = tmp_path / "law.svg"
    run_here(scaling.main, *flags[:2], f"--out={drawn}", "--resamples=4")
    assert "best size of a budget" in drawn.read_text()


def test_fit_as_json_has_both_fits_and_the_run_that_is_left_out(points, tmp_path, run_here):
    flags = [f"--points={points}", f"--out={tmp_path}/law.html", "--resamples=4", "--json"]
    outcome = run_here(scaling.main, "fit", *flags, "--corpus-tokens=1e9", "--flops=1e24")
    found = json.loads(outcome.stdout)
    every, kept = found["fits"]
    assert [each["run"] for each in found["left_out"]] == [4]
    assert (every["num_points"], kept["num_points"]) == (28, 27)
    assert kept["law"]["exponent"] == pytest.approx(TRUE.exponent, abs=0.02)
    assert kept["approaches"]["law (approach 3)"]["params"] == pytest.approx(
        TRUE.optimum.params(1e24), rel=0.3
    )
    assert len(found["budgets"]) == len(found["held_out"]) == 4
    assert any("read the text more than once" in warning for warning in found["warnings"])
    assert any("far out of the data" in warning for warning in found["warnings"])
    outcome = run_here(scaling.main, "fit", *flags, "--leave-out=0")
    found = json.loads(outcome.stdout)
    assert found["left_out"] == []
    assert len(found["fits"]) == 1


def test_plan_prices_a_budget_and_places_the_models_of_the_zoo(tmp_path, run_here):
    out = tmp_path / "plan.html"
    flags = ["plan", "--flops=5.76e23", "--topology", "h100:512", "--mfu=0.5"]
    found = json.loads(run_here(scaling.main, *flags, "--json").stdout)
    (cost,) = found["costs"]
    assert cost["days_at_peak"] == pytest.approx(5.76e23 / (512 * 989e12) / 86_400)
    assert cost["days"] == 2 * cost["days_at_peak"]
    models = {each["model"]: each for each in found["standings"]}
    assert models["chinchilla_70b"]["compute_multiple"] == pytest.approx(1, abs=0.01)
    assert models["gopher_280b"]["compute_multiple"] < 0.6
    assert models["gpt3_175b"]["flops"] == pytest.approx(3.14e23, rel=0.01)
    assert "gpt2_124m" in found["left_out"]
    assert not {"gpt2_124m", "chinchilla_44m"} & set(models)
    outcome = run_here(scaling.main, *flags, f"--out={out}")
    assert "Chinchilla, approach 3  40.4B" in outcome.stdout
    assert parse(out.read_text()).tags.count("figure") == 1


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["fit", "--points=missing.csv"], 2, "--points=missing.csv is not a file"),
        (["fit", "--points=a.csv", "--out=a.gif"], 2, "--out=a.gif must end in .html, .png"),
        (["fit", "--points=a.csv", "--out=no/a.html"], 2, "cannot be written: make its folder"),
        (["fit", "--points=a.csv", "--resamples=0"], 2, "--resamples=0 must be above zero"),
        (["fit", "--points=a.csv", "--leave-out=-1"], 2, "--leave-out=-1 must not be negative"),
        (["run", "--budgets=3e12,many"], 2, "--budgets=3e12,many must be numbers with commas"),
        (["run", "--family=bloom"], 2, "--family=bloom is not in the zoo"),
        (["plan", "--flops=0"], 2, "--flops=0 must be above zero"),
        (["plan", "--flops=1e21", "--mfu=2"], 2, "--mfu=2 must lie between 0 and 1"),
        (["plan", "--flops=1e21", "--topology", "h9:4"], 2, "--topology='h9:4' is not known"),
    ],
)
def test_a_mistake_is_one_message(flags, code, message, run_here):
    outcome = run_here(scaling.main, *flags)
    assert outcome.code == code
    assert message in " ".join(outcome.stderr.split())
    assert "Traceback" not in outcome.stderr


def test_a_study_whose_process_is_killed_resumes_its_run_and_fits(
    corpus_glob, tmp_path, run_here, monkeypatch
):
    """The first run is real and dies after its first checkpoint; a law gives the others' losses."""
    folder = tmp_path / "study"
    flags = ["run", "--budgets=5e8,1e9", "--vocab-size=300", "--seq-len=32", "--batch-tokens=64"]
    flags += [f"--files={corpus_glob}", f"--workdir={folder}", "--resamples=2"]
    first = folder / "5e+08" / "d16"
    with start("-m", "zoo.scaling", *flags) as process:
        give_up_at_s = time.monotonic() + 3 * DEADLINE_S
        while process.poll() is None and time.monotonic() < give_up_at_s:
            if checkpoint.saved_steps(first):
                break
            time.sleep(0.02)
        process.kill()
        process.communicate()
    assert checkpoint.saved_steps(first)
    assert not (folder / "study.json").exists()
    trained = []

    def train(run, workdir):
        trained.append(workdir)
        if workdir == first:
            return real(run, workdir)
        loss = TRUE.loss(num_params(run.model), run.num_tokens)
        return Trained(loss, run.num_tokens / 1e5, 1000.0)

    real = scaling._train
    monkeypatch.setattr(scaling, "_train", train)
    outcome = run_here(scaling.main, *flags, "--json")
    assert outcome.code == 0, outcome.stderr
    record = read_record(first)
    assert record is not None
    assert [start.first_step > 0 for start in record.starts] == [False, True]
    runs = json.loads((folder / "study.json").read_text())["runs"]
    assert trained[:2] == [folder / "calibration", first]
    assert len(trained) == 11
    found = json.loads(outcome.stdout)
    assert found["num_points"] == len(runs) == 10
    assert 0 < runs[0]["loss"] < math.log(300)
    assert runs[0]["epochs"] > 0
    assert len(found["conventions"]) == 4
    assert parse((folder / "scaling.html").read_text()).tags.count("figure") == 3

    trained.clear()
    assert run_here(scaling.main, *flags).code == 0
    assert trained == []
    outcome = run_here(scaling.main, *flags, "--spacing=2")
    assert outcome.code == 2
    assert "holds a study with spacing=1.6, not 2.0" in " ".join(outcome.stderr.split())
