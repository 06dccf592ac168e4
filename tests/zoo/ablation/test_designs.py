import math

import numpy as np
import pytest

from zoo.ablation.designs import contrasts, label, variants

NAMES = [f"c{number}" for number in range(16)]


def test_the_start_and_the_end_bound_the_path():
    found = contrasts("path", NAMES[:3])
    assert [label(v, NAMES[:3]) for v in variants(["path"], NAMES[:3])] == [
        "start", "end", "start with c0", "end without c2",
    ]  # fmt: skip
    total: dict = {}
    for each in found:
        for variant, weight in each.weights.items():
            total[variant] = total.get(variant, 0) + weight
    assert {v: w for v, w in total.items() if w} == {frozenset(NAMES[:3]): 1, frozenset(): -1}


@pytest.mark.parametrize("k", range(1, 17))
def test_a_factorial_has_clear_main_effects_and_states_its_aliases(k):
    """The columns of all effects are orthogonal, and main effects have no aliases."""
    choices = NAMES[:k]
    found = contrasts("factorial", choices)
    runs = list(found[0].weights)
    assert len(runs) == 2 ** next(m for m in range(1, 9) if 2 ** (m - 1) >= k)
    assert frozenset(choices) in runs
    columns = np.array([[each.weights[run] for run in runs] for each in found])
    assert np.allclose(columns.sum(1), 0)
    gram = columns @ columns.T
    assert np.allclose(gram, np.diag(np.diag(gram)))
    assert {each.name for each in found[:k]} == set(choices)
    assert all(not each.aliases for each in found[:k])
    pairs = [name for each in found[k:] for name in (each.name, *each.aliases)]
    assert len(pairs) == len(set(pairs)) == math.comb(k, 2)
    if k == 5:
        assert all(not each.aliases for each in found)


@pytest.mark.parametrize("k", [3, 4, 6])
def test_a_factorial_finds_effects_and_the_sum_of_aliased_pairs(k):
    choices = NAMES[:k]
    rng = np.random.default_rng(0)
    main = dict(zip(choices, rng.normal(size=k), strict=True))
    pair = {(a, b): rng.normal() for i, a in enumerate(choices) for b in choices[i + 1 :]}

    def score(variant) -> float:
        sign = {c: 1 if c in variant else -1 for c in choices}
        return sum(main[c] * sign[c] for c in choices) + sum(
            x * sign[a] * sign[b] for (a, b), x in pair.items()
        )

    for each in contrasts("factorial", choices):
        effect = sum(weight * score(variant) for variant, weight in each.weights.items())
        if each.name in main:
            expected = main[each.name]
        else:
            names = [tuple(name.split(" x ")) for name in (each.name, *each.aliases)]
            expected = sum(pair[a, b] for a, b in names)
        factor = 2 if each.name in main else 4  # the effect of one with the other, less without
        assert effect == pytest.approx(factor * expected)
