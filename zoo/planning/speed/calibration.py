"""The prediction held against published runs."""

import math

from configs.experiment import Experiment
from models.model import num_params
from zoo.distribution.sharding import AXES
from zoo.planning.hardware import Topology
from zoo.planning.speed.prediction import FITTED, Coefficients, Prediction, predict, products
from zoo.planning.speed.published_runs import PublishedRun, published_runs

FAR = 0.15
"""Difference from a published run, in MFU, beyond which a prediction says so."""
LEFT_OUT_RMS = 0.072
"""Root of the mean squared difference, in MFU, for runs that were left out of the fit in turn."""
LEFT_OUT_MEDIAN = 0.048
"""The median of the same differences."""


def nearest_run(experiment: Experiment, topology: Topology) -> PublishedRun:
    """Return the published run of the most similar size, on chips with the same coefficient."""
    size = _matrix_entries(experiment)

    def distance(run: PublishedRun) -> float:
        return abs(math.log(_matrix_entries(run.experiment) / size))

    generation = FITTED.product(topology.chip)
    alike = [run for run in published_runs() if FITTED.product(run.topology.chip) == generation]
    return min(alike, key=distance)


def _matrix_entries(experiment: Experiment) -> float:
    one_device: dict[str, int] = dict.fromkeys(AXES, 1)
    layer = (each for each in products(experiment, one_device) if each.is_in_layer)
    return experiment.model.num_layers * sum(p.count * p.inner * p.columns for p in layer)


def predict_run(run: PublishedRun, coefficients: Coefficients = FITTED) -> Prediction:
    """Predict a published run, with 12 bytes of state per parameter: float32 and two moments."""
    ways = run.shape["fsdp"] * run.shape["tensor"] * run.shape["pipeline"]
    state_bytes = 12 * num_params(run.experiment.model) / ways
    return predict(run.experiment, run.topology, run.shape, state_bytes, coefficients)


def is_far(prediction: Prediction, run: PublishedRun) -> bool:
    """Return True if the prediction differs by more than FAR from the run's MFU."""
    return abs(prediction.mfu - run.mfu) > FAR
