from pathlib import Path
from typing import Any

from tests.zoo.reporting.runs import change_config, make_run
from zoo.reporting.comparison import Comparison
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
