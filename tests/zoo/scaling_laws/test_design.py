import numpy as np
import pytest

import configs
from models.config import ConfigError
from models.model import num_params
from tests.zoo.scaling_laws.synthetic import BUDGETS, TRUE, grid, law_of
from zoo.scaling_laws.conventions import Counts, conventions, counts_of_family
from zoo.scaling_laws.design import best_next_run, leave_one_budget_out
from zoo.scaling_laws.law import Law
from zoo.scaling_laws.parametric import log_errors, refit_law
from zoo.scaling_laws.points import Points


def test_a_budget_that_the_law_predicts_has_no_error_and_a_shifted_one_has_it():
    exact = leave_one_budget_out(grid(), TRUE)
    assert [each.flops for each in exact] == pytest.approx(BUDGETS)
    assert max(each.rms for each in exact) < 1e-4
    points = grid()
    last = points.budget_indices[-1]
    points.loss[last] *= 1.02
    shifted = leave_one_budget_out(points, TRUE)[-1]
    assert shifted.mean == pytest.approx(np.log(1.02), abs=1e-4)
    assert shifted.rms == pytest.approx(np.log(1.02), abs=1e-4)


def test_the_next_run_narrows_the_exponent_as_announced():
    """Against a direct computation: the covariance with the run among the others."""
    points = grid(noise=0.003)
    law = refit_law(points, TRUE)
    run = best_next_run(points, law, 1e21)
    assert run is not None
    assert run.flops <= 1e21 * (1 + 1e-9)
    noise = np.sqrt((log_errors(law, points) ** 2).sum() / (len(points) - 5))
    params, tokens = [*points.params, run.params], [*points.tokens, run.tokens]
    assert run.before == pytest.approx(_deviation(law, params[:-1], tokens[:-1], noise), rel=1e-3)
    assert run.after == pytest.approx(_deviation(law, params, tokens, noise), rel=1e-3)
    middle = _deviation(law, [*params[:-1], 3e9], [*tokens[:-1], 6e10], noise)
    assert run.after < middle < run.before


def _deviation(law: Law, params, tokens, noise: float) -> float:
    """The standard deviation of a, with slopes of log L by finite differences."""
    n, d = np.array(params), np.array(tokens)
    theta = np.array([np.log(law.E), np.log(law.A), np.log(law.B), law.alpha, law.beta])

    def log_loss(t):
        return np.log(law_of(t).loss(n, d))

    def exponent(t):
        return t[4] / (t[3] + t[4])

    steps = 1e-5 * np.eye(5)
    slopes = np.array([(log_loss(theta + s) - log_loss(theta - s)) / 2e-5 for s in steps]).T
    gradient = np.array([(exponent(theta + s) - exponent(theta - s)) / 2e-5 for s in steps])
    scale = np.linalg.norm(slopes, axis=0)
    inverse = np.linalg.inv((slopes / scale).T @ (slopes / scale))
    return noise * float(np.sqrt(gradient / scale @ inverse @ (gradient / scale)))


def test_runs_that_leave_the_law_open_have_no_best_next_run():
    points = grid(budgets=[1e18], noise=0.003)
    assert best_next_run(points[np.zeros(7, int)], TRUE, 1e18) is None


def test_counts_are_those_of_the_arrays():
    for name in ("gpt2_124m", "llama_7b"):
        model = configs.get(name).model
        counts = Counts.of(model, 2048)
        assert counts.params == num_params(model)
        tables = (1 if model.tie_embeddings else 2) * model.vocab_size * model.d_model
        learned = model.context_length * model.d_model if name == "gpt2_124m" else 0
        assert counts.without_embeddings == counts.params - tables - learned
        attention = 12 * model.num_layers * model.d_model * 2048
        assert counts.flops_per_token == 6 * counts.params + attention


def test_small_models_move_from_chinchilla_to_kaplan_by_counting_alone():
    """Losses of one law in all parameters; only the counting of N and C differs."""
    sizes = [e for n, e in configs.FAMILIES["chinchilla"].PUBLISHED.items()][:8]
    counts = [Counts.of(e.model, e.seq_len) for e in sizes for _ in range(6)]
    params = np.array([float(each.params) for each in counts])
    tokens = params * np.tile(np.geomspace(3, 100, 6), 8)
    points = Points.of(list(params), list(tokens), list(TRUE.loss(params, tokens)))
    found = {(each.params, each.flops): each.exponent for each in conventions(points, counts)}
    total = found["all parameters", "6ND of the same N"]
    assert total == pytest.approx(TRUE.exponent, abs=2e-3)
    assert found["without embeddings", "6ND of the same N"] > total + 0.05
    # The cost with attention grows more slowly than N: a larger model costs less than 6N says.
    assert total < found["all parameters", "6ND of all N, with attention"] < total + 0.05
    assert len(found) == 4


def test_sizes_are_looked_up_in_their_family():
    points = Points.of([44e6 * 0.994, 70.06e9], [1e9, 1e9], [3.0, 2.0])
    small, large = counts_of_family(points, "chinchilla")
    assert (small.params, large.params) == (43_720_448, 70_061_956_352)
    with pytest.raises(ConfigError, match="no model of 70,060,000,000 parameters \\(run 2\\)"):
        counts_of_family(points, "gopher")
    with pytest.raises(ConfigError, match="--family=bloom is not in the zoo"):
        counts_of_family(points, "bloom")
