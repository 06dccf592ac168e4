"""Studies with a trainer that knows the effects."""

import dataclasses
import json

import numpy as np
import pytest

from models.config import ConfigError
from tests.zoo.ablation.synthetic import STUDY, Killed, Trainer, finish, with_choices
from tests.zoo.reporting.browser import load, needs_browser
from tests.zoo.reporting.pages import parse
from zoo.ablation.designs import START
from zoo.ablation.findings import Findings
from zoo.ablation.report import NOISE, study_markdown, study_page, verdict
from zoo.ablation.study import SWEEP_SEED, Study
from zoo.ablation.sweep import best_place, is_bracketed, next_places
from zoo.ablation.workers import check_shared, started, train_all
from zoo.common.errors import WorkdirError

EFFECTS = {"norm": 0.0, "position": -0.05, "feed_forward": -0.03, "optimizer": 0.08}


def test_known_effects_are_found_and_nothing_else(tmp_path):
    study, _ = finish(tmp_path, effects=EFFECTS, noise=0.002)
    findings = Findings.of(study)
    assert findings.is_finished
    for design in STUDY.designs:
        for contrast, effect in findings.effects[design]:
            assert effect is not None
            assert effect.mean == pytest.approx(EFFECTS[contrast.name], abs=0.006)
            assert effect.is_noise == (EFFECTS[contrast.name] == 0)
    words = {c.name: verdict(e) for c, e in findings.effects["path"] if e is not None}
    assert words == {
        "norm": NOISE, "position": "better", "feed_forward": "better", "optimizer": "worse",
    }  # fmt: skip


def test_a_factorial_sees_a_choice_that_helps_only_with_another(tmp_path):
    settings = with_choices("norm", "position", "feed_forward", designs=("factorial", "from_start"))
    study, _ = finish(tmp_path, settings, effects={"norm x position": -0.08}, noise=0.002)
    found = Findings.of(study).effects
    alone = {c.name: e for c, e in found["from_start"]}
    assert all(effect is not None and effect.is_noise for effect in alone.values())
    together = {c.name: e for c, e in found["factorial"]}
    pair = together["norm x position"]
    assert pair is not None
    assert not pair.is_noise
    assert pair.mean == pytest.approx(-0.08, abs=0.008)
    other = together["norm x feed_forward"]
    assert other is not None
    assert other.is_noise


def test_a_noisy_start_does_not_hide_the_effects_at_the_end(tmp_path):
    settings = dataclasses.replace(STUDY, designs=("from_start", "from_end"))
    study, _ = finish(tmp_path, settings, effects=EFFECTS, noise=0.002)
    before = Findings.of(study)
    for number, run in enumerate(study.runs):
        if len(run.variant) <= 1 and run.seed:
            shift = 0.3 * np.random.default_rng(number).normal()
            bits = (run.trained.bits_per_byte or 0) + shift
            trained = dataclasses.replace(run.trained, bits_per_byte=bits)
            study.runs[number] = dataclasses.replace(run, trained=trained)
    after = Findings.of(study)
    assert after.noise["from_start"].std > 50 * before.noise["from_start"].std
    assert after.noise["from_end"] == before.noise["from_end"]
    assert after.effects["from_end"] == before.effects["from_end"]
    assert all(effect is not None and effect.is_noise for _, effect in after.effects["from_start"])


def test_each_variant_gets_its_best_peak_by_a_sweep_of_its_own(tmp_path):
    study, trainer = finish(tmp_path, best_peak=8.0)
    for variant in study.variants:
        sweep = study.sweep(variant)
        assert sorted(sweep) == [-1, 0, 1, 2, 3, 4]
        assert is_bracketed(sweep)
        runs = study.runs_of(variant)
        assert runs is not None
        assert {run.place for run in runs} == {3}
        assert [run.seed for run in runs] == [1, 2, 3]
    assert (
        len({workdir for _, workdir in trainer.runs})
        == len(trainer.runs)
        == 9 * len(study.variants)
    )
    assert {run.seed for run, workdir in trainer.runs if "seed0" in workdir.name} == {SWEEP_SEED}


def test_a_sweep_ends_between_worse_peaks_or_at_its_limit():
    assert next_places({}, 4) == [0, -1, 1]
    assert next_places({0: 1.0, -1: 2.0, 1: 3.0}, 4) == [2]
    assert next_places({0: 1.0, -1: 2.0, 1: 3.0, 2: 4.0}, 4) == []
    unlucky = {0: 1.0, -1: 2.0, 1: 3.0, 2: 0.5}
    assert next_places(unlucky, 4) == [3, 4]
    assert next_places({0: 2.0, -1: 1.0, 1: 3.0}, 4) == [-2]
    assert next_places({0: 2.0, -1: 1.0, 1: 3.0}, 1) == []
    falling = {place: -float(place) for place in range(-1, 5)}
    assert next_places(falling, 4) == []
    assert not is_bracketed(falling)
    diverged = {0: None, -1: None, 1: None}
    assert next_places(diverged, 4) == [-2]
    assert best_place({0: None, -1: 2.0, 1: None, -2: 3.0}) == -1
    assert best_place({0: 2.0, 1: 2.0, -1: 2.5}) == 0


def test_a_peak_that_diverges_is_a_result(tmp_path):
    study, _ = finish(tmp_path, best_peak=2.0, diverges_above=1.5)
    assert study.sweep(START)[1] is None
    assert study.runs_of(START) is not None
    assert Findings.of(study).is_finished
    assert "diverged" in study_markdown(Findings.of(study), "command")


def test_a_diverged_seed_is_said_and_not_averaged(tmp_path):
    study, _ = finish(tmp_path)
    number = next(i for i, run in enumerate(study.runs) if run.variant == ("norm",) and run.seed)
    run = study.runs[number]
    trained = dataclasses.replace(run.trained, bits_per_byte=None)
    study.runs[number] = dataclasses.replace(run, trained=trained)
    findings = Findings.of(study)
    (norm,) = (each for each in findings.variants if each.name == "start with norm")
    assert norm.mean is None
    assert [e is None for _, e in findings.effects["from_start"]] == [True, False, False, False]
    assert "a run diverged" in study_markdown(findings, "command")


def test_a_killed_study_goes_on_where_it_was_and_ends_the_same(tmp_path):
    whole, _ = finish(tmp_path / "whole", effects=EFFECTS, noise=0.01)
    killed = Study.open(STUDY, tmp_path / "killed")
    with pytest.raises(Killed):
        train_all(killed, [Trainer(killed, EFFECTS, noise=0.01, dies_at=17)], lambda run: None)
    resumed, trainer = finish(tmp_path / "killed", effects=EFFECTS, noise=0.01)
    assert len(trainer.runs) == len(whole.runs) - 17
    assert resumed.runs == whole.runs
    again, trainer = finish(tmp_path / "killed", effects=EFFECTS, noise=0.01)
    assert trainer.runs == []
    assert Findings.of(again).to_json() == Findings.of(whole).to_json()


def test_seeds_designs_and_choices_can_be_added_without_repeating_a_run(tmp_path):
    first, trainer = finish(tmp_path, with_choices("norm", "position", seeds=2))
    before, runs = list(first.runs), len(trainer.runs)
    more, trainer = finish(tmp_path, with_choices("norm", "position", "optimizer", seeds=4))
    assert more.runs[:runs] == before
    workdirs = [run.workdir for run in more.runs]
    assert len(set(workdirs)) == len(workdirs)
    other_order = Study.open(with_choices("optimizer", "position", "norm", seeds=4), tmp_path)
    assert other_order.runs == more.runs
    planned = [*other_order.ready()]
    assert not {str(other_order.workdir(each)) for each in planned} & set(workdirs)
    keys = [run.key for run in more.runs]
    assert len(set(keys)) == len(keys) == runs + len(trainer.runs)
    assert Findings.of(more).is_finished
    assert {len(each.runs) for each in Findings.of(more).variants} == {4}


def test_several_trainers_make_the_same_study(tmp_path):
    whole, _ = finish(tmp_path / "one", effects=EFFECTS, noise=0.01)
    study = Study.open(STUDY, tmp_path / "three")
    trainers = [Trainer(study, EFFECTS, noise=0.01) for _ in range(3)]
    train_all(study, trainers, lambda run: None)
    assert sum(len(each.runs) for each in trainers) == len(whole.runs)
    assert all(each.runs for each in trainers)
    assert Findings.of(study).to_json() == Findings.of(whole).to_json()


def test_the_start_comes_first_and_the_runs_that_are_left_are_counted(tmp_path):
    study = Study.open(STUDY, tmp_path)
    assert study.num_left == study.num_first == 6 * len(study.variants)
    _, trainer = finish(tmp_path)
    assert [workdir.parent.name for _, workdir in trainer.runs[:6]] == ["start"] * 6
    first = Study.open(STUDY, tmp_path / "other")
    assert {each.variant for each in first.ready()} == {START}
    assert Study.open(STUDY, tmp_path).num_left == 0


def test_reports_of_an_unfinished_study_say_so(tmp_path):
    study = Study.open(STUDY, tmp_path)
    assert parse(study_page(Findings.of(study), "c")).tags.count("h1") == 1
    with pytest.raises(Killed):
        train_all(study, [Trainer(study, EFFECTS, noise=0.01, dies_at=35)], lambda run: None)
    findings = Findings.of(study)
    assert not findings.is_finished
    assert list(findings.effects) == ["from_start", "path"]
    effects = findings.effects["from_start"]
    assert [contrast.name for contrast, _ in effects] == ["norm", "position", "feed_forward"]
    # 4 from the start, 4 from the end, and the two of the path that are not among these
    assert {effect.comparisons for _, effect in effects if effect is not None} == {10}
    text = study_markdown(findings, "command")
    assert "Variants that are not finished" in text
    assert "Effects that are not finished: 1." in text


def test_the_page_and_the_markdown_have_every_table(tmp_path):
    study, _ = finish(tmp_path, effects=EFFECTS, noise=0.002)
    findings = Findings.of(study)
    page = parse(study_page(findings, "python -m zoo.ablate --from=a --to=b"))
    text = study_markdown(findings, "python -m zoo.ablate --from=a --to=b")
    assert page.tags.count("figure") == 3 + 2 * 3
    for part in (
        "python -m zoo.ablate --from=a --to=b", "The noise floor", NOISE, "end without optimizer",
        "Sweeps of the learning rate", "less the start", "d_ff", "data.task='stdlib'",
    ):  # fmt: skip
        assert part in page.text
        assert part in text
    assert json.loads(json.dumps(findings.to_json()))["effects"]["path"][1]["is_noise"] is False


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page_on_a_phone_and_on_a_desk(width, tmp_path):
    study, _ = finish(tmp_path / "study", effects=EFFECTS, noise=0.002)
    page = tmp_path / "page.html"
    page.write_text(study_page(Findings.of(study), "command"))
    document, log = load(page.as_uri(), tmp_path / "profile", f"--window-size={width},900")
    shown = parse(document)
    assert shown.tags.count("figure") == 3 + 2 * 3
    assert NOISE in shown.text
    assert "CONSOLE" not in log


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"settings": 3, "runs": []}', '{"settings": {}, "runs": [{}]}']
)
def test_a_damaged_study_is_an_error_and_stays(content, tmp_path):
    file = tmp_path / "study.json"
    file.write_text(content)
    with pytest.raises(WorkdirError, match="study.json is damaged .*; restore it from a copy"):
        finish(tmp_path)
    assert file.read_text() == content


def test_a_study_of_other_settings_is_not_continued(tmp_path):
    finish(tmp_path, with_choices("norm"))
    with pytest.raises(ConfigError, match="holds a study with num_tokens=51200, not 102400"):
        Study.open(dataclasses.replace(STUDY, num_tokens=102_400), tmp_path)


def test_a_study_of_a_model_that_has_changed_is_not_continued(tmp_path):
    study, _ = finish(tmp_path, with_choices("norm"))
    study.runs[3] = dataclasses.replace(study.runs[3], peak_lr=0.5)
    study.write()
    with pytest.raises(ConfigError, match="with a peak of 0.5, which would be .* has changed"):
        Study.open(with_choices("norm"), tmp_path)


def test_accelerators_are_shared_among_no_more_processes_than_they_serve():
    check_shared(8, "cpu", 1)
    check_shared(4, "gpu", 4)
    with pytest.raises(ConfigError, match="more than the 2 GPUs that are here; write --jobs=2"):
        check_shared(3, "gpu", 2)
    with pytest.raises(ConfigError, match="a TPU serves one; write --jobs=1"):
        check_shared(2, "tpu", 4)


def test_several_trainers_start_and_end_with_the_block():
    with started(2) as trainers:
        assert len(trainers) == 2
