import json
from pathlib import Path
from typing import Any

import pytest

from tests.zoo.reporting.runs import change_config, make_run, row, write_rows
from zoo.reporting.comparison import Comparison
from zoo.reporting.comparison_page import comparison_page, repeats_table
from zoo.reporting.record import read_record
from zoo.reporting.recorded_run import read_run

LR = "optimizer.schedule.peak_lr"


def compare(*workdirs: Path) -> Comparison:
    return Comparison([read_run(workdir) for workdir in workdirs])


def run(workdir: Path, name: str = "palm_nano", /, **values: Any) -> Path:
    make_run(workdir, name)
    for key, value in values.items():
        change_config(workdir, key.replace("__", "."), value)
    return workdir


def test_labels_of_different_models_are_their_names(tmp_path):
    comparison = compare(run(tmp_path / "a"), run(tmp_path / "b", "gpt2_nano"))
    assert comparison.labels == ["palm_nano", "gpt2_nano"]


def test_labels_of_one_model_are_the_values_that_differ(tmp_path):
    key = LR.replace(".", "__")
    runs = [run(tmp_path / str(i), **{key: lr}) for i, lr in enumerate((0.01, 0.02, 0.03))]
    comparison = compare(*runs)
    assert comparison.labels == ["peak_lr 0.01", "peak_lr 0.02", "peak_lr 0.03"]
    assert comparison.differences == {LR: [0.01, 0.02, 0.03]}


def test_labels_of_two_models_with_two_rates_have_both(tmp_path):
    runs = [
        run(tmp_path / f"{model}{seed}", model, seed=seed)
        for model in ("palm_nano", "llama_nano")
        for seed in (0, 1)
    ]
    assert compare(*runs).labels == [
        "palm_nano, seed 0", "palm_nano, seed 1", "llama_nano, seed 0", "llama_nano, seed 1",
    ]  # fmt: skip


def test_two_keys_of_one_name_are_told_apart(tmp_path):
    runs = [run(tmp_path / "a"), run(tmp_path / "b", seed=1, data__seed=2)]
    assert compare(*runs).labels == ["data.seed 0, seed 0", "data.seed 2, seed 1"]


def test_equal_runs_and_those_that_differ_in_much_are_called_as_their_folders(tmp_path):
    equal = compare(run(tmp_path / "x" / "run"), run(tmp_path / "y" / "run"))
    assert equal.labels == ["x/run", "y/run"]
    assert equal.differences == {}
    same = Comparison([equal.runs[0], equal.runs[0]])
    assert same.labels == ["run (1)", "run (2)"]
    much = {"seed": 1, "z_loss": 0.5, "data__seed": 3, LR.replace(".", "__"): 1.0}
    assert compare(run(tmp_path / "a"), run(tmp_path / "b", **much)).labels == ["a", "b"]


def test_settings_that_move_no_loss_are_listed_but_in_no_label(tmp_path):
    comparison = compare(run(tmp_path / "a"), run(tmp_path / "b", log_every=7, seed=1))
    assert comparison.labels == ["seed 0", "seed 1"]
    assert comparison.differences == {"seed": [0, 1], "log_every": [1, 7]}


def test_numbers_that_cannot_be_compared_have_a_note(tmp_path):
    workdirs = run(tmp_path / "a"), run(tmp_path / "b")
    record = read_record(workdirs[1])
    assert record is not None
    record.data_fingerprint = {"corpus": "c1", "vocabulary": "v1"}
    record.write(workdirs[1])
    vocabularies, texts = compare(*workdirs).notes
    assert vocabularies.startswith("the vocabularies differ: compare bits per byte")
    assert texts.startswith("the texts differ")


def test_runs_that_differ_in_their_seeds_alone_are_repeats_of_one_config(tmp_path):
    def finished(folder: str, model: str, seed: int, bits: float, **values: Any) -> Path:
        workdir = run(tmp_path / folder, model, seed=seed, data__seed=seed, **values)
        write_rows(workdir, [row(6, bits=bits)])
        return workdir

    workdirs = [
        finished("a1", "palm_nano", 1, 2.0),
        finished("b1", "llama_nano", 1, 1.5),
        finished("a2", "palm_nano", 2, 2.2, log_every=7),  # which moves no number
        finished("b2", "llama_nano", 2, 1.7),
        finished("a3", "palm_nano", 3, 2.4),
        finished("c1", "palm_nano", 1, 9.0, z_loss=0.5),  # alone of its config
        run(tmp_path / "d1", "gpt2_nano", seed=1),
    ]
    comparison = compare(*workdirs)
    best, other = comparison.repeats
    assert (best.label, best.scores) == ("llama_nano", (1.5, 1.7))
    assert (other.label, other.scores) == ("palm_nano", (2.0, 2.2, 2.4))
    assert other.mean == pytest.approx(2.2)
    assert other.std == pytest.approx(0.2)
    half = 4.302653 * 0.2 / 3**0.5  # Student's t of 2 degrees of freedom at 97.5 %
    assert other.interval == pytest.approx((2.2 - half, 2.2 + half))
    assert repeats_table(comparison).rows[1][:3] == ["palm_nano", "3", "2.2000"]
    shown = json.loads(json.dumps(comparison.to_json()))["repeats"]
    assert [each["bits_per_byte"] for each in shown] == [[1.5, 1.7], [2.0, 2.2, 2.4]]
    assert "Seeds" in comparison_page(comparison, "tokens")


def test_runs_that_are_not_finished_are_no_repeats(tmp_path):
    runs = [run(tmp_path / "a", seed=1)]
    make_run(tmp_path / "b", outcome=None)
    assert compare(*runs, tmp_path / "b").repeats == []
