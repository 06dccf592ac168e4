import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.zoo.scaling_laws.synthetic import TRUE
from zoo.scaling_laws.published import (
    _FLOPS_1,
    _FLOPS_2,
    _PARAMS,
    CHINCHILLA,
    EPOCH,
    GOPHER_FLOPS,
    PUBLISHED,
    Bootstrap,
    compute_multiple,
    through_table,
)


@pytest.mark.parametrize("flops", [1e18, 5.76e23])
def test_the_optimum_has_the_lowest_loss_of_its_budget(flops):
    found = minimize_scalar(
        lambda n: TRUE.loss(np.exp(n), flops / 6 / np.exp(n)), bounds=(10, 40), method="bounded"
    )
    assert np.log(TRUE.optimum.params(flops)) == pytest.approx(found.x, abs=1e-4)
    assert 6 * TRUE.optimum.params(flops) * TRUE.optimum.tokens(flops) == pytest.approx(flops)


def test_published_constants_give_the_published_sizes():
    """Chinchilla's section 3.4 says 40B for approach 3; its own size is what the refit gives."""
    assert CHINCHILLA.optimum.params(GOPHER_FLOPS) == pytest.approx(40.4e9, rel=0.002)
    assert CHINCHILLA.optimum.tokens(GOPHER_FLOPS) == pytest.approx(2.38e12, rel=0.002)
    assert EPOCH.optimum.params(GOPHER_FLOPS) == pytest.approx(72.3e9, rel=0.003)
    assert EPOCH.optimum.tokens(GOPHER_FLOPS) == pytest.approx(1.33e12, rel=0.003)
    assert EPOCH.exponent == pytest.approx(0.5126, abs=2e-4)


def test_the_tables_of_approaches_1_and_2_lie_on_lines_of_their_printed_exponents():
    for flops, exponent in ((_FLOPS_1, 0.50), (_FLOPS_2, 0.49)):
        line = through_table(flops, _PARAMS)
        assert line.exponent == pytest.approx(exponent, abs=0.006)
        for c, n in zip(flops, _PARAMS, strict=True):
            assert line.params(c) == pytest.approx(n, rel=0.04)


def test_intervals_widen_with_the_distance_and_hold_what_later_work_found():
    """Approaches 1 and 2 hold Chinchilla's 70B; Kaplan's law has no published uncertainty."""
    intervals = {p.name: p.spread.interval(p.optimum, GOPHER_FLOPS) for p in PUBLISHED}
    assert intervals["Kaplan et al."] is None
    for name in ("Chinchilla, approach 1", "Chinchilla, approach 2", "Epoch's refit"):
        low, high = intervals[name] or (0.0, 0.0)
        assert low < 70.07e9 < high
    spread = Bootstrap(1e19, 0.02, 0.02)
    near, far = (spread.interval(EPOCH.optimum, flops) for flops in (1e20, 1e24))
    assert near[1] / near[0] < far[1] / far[0]


def test_half_the_compute_reaches_the_loss_of_a_model_off_the_optimum():
    """By its definition: the best model of that share of the FLOPs has the same loss."""
    flops = 1e21
    params, tokens = TRUE.optimum.params(flops), TRUE.optimum.tokens(flops)
    assert compute_multiple(TRUE, params, tokens) == pytest.approx(1)
    share = compute_multiple(TRUE, 5 * params, tokens / 5)
    less = share * flops
    best = TRUE.loss(TRUE.optimum.params(less), TRUE.optimum.tokens(less))
    assert 0 < share < 1
    assert best == pytest.approx(TRUE.loss(5 * params, tokens / 5))
