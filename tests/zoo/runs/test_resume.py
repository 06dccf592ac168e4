import dataclasses
import functools

import pytest

import configs
from data.config import Data, Files, Task
from data.errors import DataError
from models.config import ConfigError
from zoo.checkpoints.checkpoint import Run
from zoo.runs.resume import check_same_data, check_same_experiment

EXPERIMENT = configs.get("palm_nano")


@pytest.mark.parametrize("field", ["num_steps", "log_every", "eval_every", "save_every", "keep"])
def test_a_run_may_go_on_with_another(field, tmp_path):
    asked = dataclasses.replace(EXPERIMENT, **{field: 7})
    check_same_experiment(EXPERIMENT, asked, tmp_path)


def test_a_run_may_go_on_over_another_mesh(tmp_path):
    mesh = dataclasses.replace(EXPERIMENT.mesh, fsdp=8)
    asked = dataclasses.replace(EXPERIMENT, mesh=mesh, micro_batches=2)
    check_same_experiment(EXPERIMENT, asked, tmp_path)


@pytest.mark.parametrize(
    "change", [{"source": Files("x/*.txt")}, {"source": Task("x")}, {"cache_dir": "x"}]
)
def test_a_run_may_go_on_where_the_text_lies_elsewhere(change, tmp_path):
    asked = dataclasses.replace(EXPERIMENT, data=dataclasses.replace(EXPERIMENT.data, **change))
    check_same_experiment(EXPERIMENT, asked, tmp_path)


def test_the_text_itself_may_change_only_when_that_is_asked_for(tmp_path):
    saved = Run(EXPERIMENT, {"corpus": "abc" * 9, "packing": "split", "seed": 0})
    check = functools.partial(check_same_data, saved, workdir=tmp_path)
    assert check(fingerprint=dict(saved.data_fingerprint), allow_change=False) is None
    changed = {"corpus": "abd" * 9, "packing": "whole", "seed": 0}
    with pytest.raises(DataError, match=r"\(corpus, packing was split, now whole differs\)"):
        check(fingerprint=changed, allow_change=False)
    note = check(fingerprint=changed, allow_change=True)
    assert note
    assert "resumes with other data" in note
    assert "packing was split, now whole" in note


def test_changed_data_settings_are_listed_unless_change_is_allowed(tmp_path):
    change = {"seed": 7, "packing": "split"}
    asked = dataclasses.replace(EXPERIMENT, data=Data(**change))
    with pytest.raises(ConfigError, match=r"data\.packing was unmasked, now split"):
        check_same_experiment(EXPERIMENT, asked, tmp_path)
    asked = dataclasses.replace(EXPERIMENT, data=Data(**change, allow_change=True))
    check_same_experiment(EXPERIMENT, asked, tmp_path)


def test_every_other_difference_is_listed(tmp_path):
    model = dataclasses.replace(EXPERIMENT.model, num_layers=5)
    asked = dataclasses.replace(EXPERIMENT, model=model, seed=1)
    with pytest.raises(ConfigError) as refusal:
        check_same_experiment(EXPERIMENT, asked, tmp_path)
    assert "model.num_layers was 2, now 5" in str(refusal.value)
    assert "seed was 0, now 1" in str(refusal.value)
