"""Every choice explained, and the explanations that are often got wrong."""

import pytest

from zoo.explaining.explanations import AXES, EXPLANATIONS


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_an_explanation_is_one_sentence_an_equation_and_a_source(kind):
    explanation = EXPLANATIONS[kind]
    assert explanation.axis in AXES
    assert explanation.effect.endswith(".")
    assert ". " not in explanation.effect
    assert explanation.equation
    assert any(year in explanation.source for year in map(str, range(2000, 2030)))


def test_swiglu_gates_with_swish_not_with_the_sigmoid():
    explanation = EXPLANATIONS["SwiGLU"]
    assert "(Swish(x W) * x V) W_2, Swish(z) = z / (1 + exp(-z))" in explanation.equation
    assert "not through the plain sigmoid" in explanation.effect


def test_multi_query_attention_has_queries_of_the_input():
    explanation = EXPLANATIONS["multi-query attention"]
    assert "share one key head and one value head" in explanation.effect
    assert "computes its own queries" in explanation.effect
    assert "softmax(Q_n K^T / sqrt(H)) V" in explanation.equation


@pytest.mark.parametrize("kind", [kind for kind in EXPLANATIONS if "banded" in kind])
def test_a_band_is_linear_only_while_it_is_fixed(kind):
    assert "linear in the length as long as the band stays fixed" in EXPLANATIONS[kind].effect
