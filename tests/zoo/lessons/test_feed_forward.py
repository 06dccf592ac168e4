"""SwiGLU against GELU: equal budgets, and the verdict on studies whose effect is known."""

import contextlib

import pytest

from models.config import ConfigError
from tests.zoo.ablation.synthetic import Trainer, finish
from zoo.ablation.equal import TOLERANCE, train_flops_per_token
from zoo.ablation.findings import Findings
from zoo.ablation.report import NOISE
from zoo.lessons import feed_forward
from zoo.lessons.catalog import FeedForward
from zoo.lessons.shown import Shown
from zoo.scaling_laws.sizes import num_params

NANO = FeedForward(base="palm_nano", seq_len=64, batch_tokens=512, num_tokens=5120, seeds=4)


@pytest.mark.parametrize("base", ["palm_small", "gpt2_small", "llama_small", "gpt3_small"])
@pytest.mark.parametrize("d_model", [64, 128])
def test_parameters_and_flops_are_equal(base, d_model, tmp_path):
    study = feed_forward.open_study(FeedForward(base=base, d_model=d_model), tmp_path)
    runs = {feed_forward.name_of(study, each): study.made.run(each) for each in study.variants}
    gelu, swiglu = runs["GELU"], runs["SwiGLU"]
    assert num_params(swiglu.model) == pytest.approx(num_params(gelu.model), rel=TOLERANCE)
    flops = [train_flops_per_token(run.model, run.seq_len) for run in (gelu, swiglu)]
    assert flops[1] == pytest.approx(flops[0], rel=TOLERANCE)
    widths = [run.model.feed_forward.d_ff for run in (gelu, swiglu)]
    assert widths[1] / widths[0] == pytest.approx(2 / 3, rel=0.05)
    assert gelu.num_tokens == swiglu.num_tokens
    assert gelu.optimizer == swiglu.optimizer


def shown(folder, effect: float, noise: float) -> Shown:
    """The lesson on a study in which GELU's score is `effect` above SwiGLU's."""
    study, _ = finish(folder, NANO.study(), effects={"feed_forward": effect}, noise=noise)
    return feed_forward.shown(Findings.of(study))


def test_a_difference_beyond_the_noise_is_told_with_its_interval(tmp_path):
    found = shown(tmp_path, 0.05, 0.002)
    (difference,) = found.to_json()["differences"]
    assert difference["name"] == "SwiGLU less GELU"
    assert difference["mean"] == pytest.approx(-0.05, abs=0.01)
    low, high = difference["interval"]
    assert low < -0.05 < high < 0
    assert "better by more than the noise of 4 seeds" in found.seen[0]


def test_a_difference_within_the_noise_is_said_to_be_that(tmp_path):
    found = shown(tmp_path, 0.001, 0.05)
    assert found.to_json()["differences"][0]["is_noise"]
    assert NOISE in found.seen[0]
    assert "would have been found reliably" in found.seen[0]


def test_a_run_that_diverged_leaves_no_verdict(tmp_path):
    study, _ = finish(tmp_path, NANO.study(), diverges_above=0.1)
    found = feed_forward.shown(Findings.of(study))
    assert found.to_json()["differences"] == [{"name": "SwiGLU less GELU", "diverged": True}]
    assert "a run diverged" in found.seen[0]
    assert found.page("command")


def test_what_the_papers_print_stands_beside(tmp_path):
    found = shown(tmp_path, 0.05, 0.002)
    assert [(each["gelu"], each["swiglu"]) for each in found.published] == [
        (1.983, 1.944), (2.179, 2.127),
    ]  # fmt: skip
    assert [row[-1] for row in found.tables[2].rows] == ["-0.039", "-0.052"]
    assert "its gate is Swish" in found.seen[-1]


def test_all_runs_are_made_in_a_folder_of_their_own(monkeypatch):
    trainers = []

    def train_all(study, started, report):
        trainers.append(Trainer(study))
        original(study, trainers, report)

    original = feed_forward.train_all
    monkeypatch.setattr(feed_forward, "train_all", train_all)
    monkeypatch.setattr(feed_forward, "started", lambda jobs: contextlib.nullcontext([jobs]))
    lines = []
    found = feed_forward.show(NANO, lines.append)
    runs = len(trainers[0].runs)
    assert len(lines) == 1 + runs
    assert "0 runs left" in lines[-1]
    assert len(found.measured) == runs >= 2 * (3 + 4)
    assert not any(workdir.exists() for _, workdir in trainers[0].runs)


def test_too_small_a_model_is_one_message(tmp_path):
    lesson = FeedForward(base="gpt2_small", d_model=8)
    with pytest.raises(ConfigError, match="(--d-model=8 gives|cannot be held)"):
        feed_forward.open_study(lesson, tmp_path)
