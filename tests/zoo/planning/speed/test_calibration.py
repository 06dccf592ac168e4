"""The coefficients of the prediction, fitted again to the published runs."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import least_squares

import configs
from zoo.planning import hardware
from zoo.planning.speed import calibration
from zoo.planning.speed.calibration import nearest_run, predict_run
from zoo.planning.speed.prediction import FITTED, Coefficients
from zoo.planning.speed.published_runs import PublishedRun, published_runs
from zoo.planning.training import on_accelerator

RUNS = published_runs()
START = [getattr(FITTED, field.name) for field in dataclasses.fields(FITTED)]
OLDEST = {"Gopher-280B", "MT-NLG-530B, 2,240", "MT-NLG-530B, 3,360"}
"""Runs of 2021, by software that was slower than that of all others."""


def difference(run: PublishedRun, coefficients: Coefficients = FITTED) -> float:
    return predict_run(run, coefficients).mfu - run.mfu


def fitted(runs: Sequence[PublishedRun]) -> Coefficients:
    """Least squares, in which one bad run counts no more than a few good ones."""

    def differences(values: np.ndarray) -> list[float]:
        return [difference(run, Coefficients(*values)) for run in runs]

    bounds = [0.3, 0.3, 0.3, 0.05, 0], [1, 1, 1, 3, 1]
    fit = least_squares(differences, START, bounds=bounds, loss="soft_l1", f_scale=0.05)
    return Coefficients(*fit.x)


def test_the_coefficients_are_those_of_the_fit():
    assert dataclasses.astuple(fitted(RUNS)) == pytest.approx(dataclasses.astuple(FITTED), rel=0.02)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.name} on {run.topology.name}")
def test_a_published_speed_is_predicted(run: PublishedRun):
    assert 0.2 < run.mfu < 0.75
    assert abs(difference(run)) < (0.25 if run.name in OLDEST else 0.1)


def test_runs_that_are_left_out_are_predicted_as_well_as_documented():
    differences = []
    for left_out in RUNS:
        others = [run for run in RUNS if run is not left_out]
        differences.append(difference(left_out, fitted(others)))
    rms, median = np.sqrt(np.mean(np.square(differences))), np.median(np.abs(differences))
    assert rms == pytest.approx(calibration.LEFT_OUT_RMS, abs=0.002)
    assert median == pytest.approx(calibration.LEFT_OUT_MEDIAN, abs=0.002)


def test_every_run_has_a_source_and_its_mesh_the_devices():
    for run in RUNS:
        assert run.source
        assert np.prod(list(run.shape.values())) == run.topology.num_devices


def test_the_nearest_run_is_on_the_same_kind_of_chip_and_of_like_size():
    def nearest(model: str, topology: str) -> str:
        experiment = on_accelerator(configs.get(model))
        return nearest_run(experiment, hardware.parse(topology, 1)).name

    assert nearest("palm_540b", "v5p:4x4x4") == "PaLM-540B"
    assert nearest("gpt2_124m", "a100_80gb:8") == "llm.c GPT-2 124M"
    assert nearest("llama_7b", "h200:8").startswith("MPT-7B")


def test_a_prediction_far_from_the_run_says_so():
    far = [run.name for run in RUNS if calibration.is_far(predict_run(run), run)]
    assert far == ["Gopher-280B"]
