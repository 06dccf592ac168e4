"""The forms of attention agree where they should, and need the memory that their names promise."""

import functools

import numpy as np
import pytest

from models.config import ConfigError
from zoo.lessons import attention
from zoo.lessons.attention import Point, compiled, dense, of_the_zoo, random_arrays
from zoo.lessons.catalog import Attention
from zoo.lessons.timing import growth

NANO = Attention(num_heads=2, head_dim=8, lengths=(128, 256), band=32, repeats=1)
LENGTH = 640
"""Five blocks of queries."""


def both_ways(attend) -> list[np.ndarray]:
    """Return the output and the gradients."""
    arrays = random_arrays(NANO, LENGTH, "float32")
    mixed, gradients = compiled(attend, arrays)(*arrays.values())
    return [np.asarray(each) for each in (mixed, *gradients)]


@pytest.mark.parametrize("window", [None, 1, 32, 300, LENGTH])
def test_blocks_and_bands_equal_dense_attention_forward_and_backward(window):
    expected = both_ways(functools.partial(dense, window=window))
    found = both_ways(functools.partial(of_the_zoo, kernel="xla", window=window))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_reference_is_the_softmax_of_the_scores():
    arrays = {n: np.asarray(a, float) for n, a in random_arrays(NANO, 8, "float32").items()}
    query, key, value = (arrays[name][0, :, 1] for name in ("query", "key", "value"))
    weights = np.tril(np.exp(query @ key.T / np.sqrt(8)))
    expected = weights / weights.sum(1, keepdims=True) @ value
    found = dense(*(random_arrays(NANO, 8, "float32")[n] for n in ("query", "key", "value")))
    np.testing.assert_allclose(found[0, :, 1], expected, atol=1e-5)


def test_dense_attention_needs_the_most_memory_and_a_band_the_least():
    arrays = random_arrays(NANO, 2048, "float32")
    forms = attention.forms(NANO, 2048, "xla")
    dense_bytes, blocks, band, _ = (
        attention.temporary_bytes(compiled(attend, arrays)) for attend in forms.values()
    )
    assert 2048**2 * 2 * 4 <= dense_bytes
    assert band < blocks < dense_bytes


def test_a_growing_band_is_a_share_of_the_length():
    (growing,) = (form for form in attention.forms(NANO, 256, "xla") if "1/8" in form)
    window = attention.forms(NANO, 256, "xla")[growing].keywords["window"]
    assert window == 256 // 8
    assert attention.forms(NANO, 512, "xla")[growing].keywords["window"] == 2 * window


def test_growth_is_the_exponent():
    assert growth((1, 2, 4), (3.0, 12.0, 48.0)) == pytest.approx(2)
    assert growth((512, 4096), (7.0, 56.0)) == pytest.approx(1)


def test_a_kernel_of_the_platform_is_measured_where_there_is_one():
    assert list(attention.forms(NANO, 128, "splash"))[-1] == "fused (splash)"
    experiment, reason = attention.fused_kernel(NANO, 128)
    assert experiment.execution.attention == "xla"
    assert reason == "cpu has no kernel of its own"


def test_the_lesson_fits_every_form_and_says_why_no_kernel_is_fused():
    shown = attention.show(NANO, lambda line: None)
    found = shown.to_json()
    names = ["dense", "in blocks", "band of 32", "band of 1/8"]
    assert [each["name"] for each in found["compared"]] == names
    assert [(each["length"], each["name"]) for each in found["measured"]] == [
        (length, name) for length in NANO.lengths for name in names
    ]
    assert all(each["temporary_bytes"] > 0 for each in found["measured"])
    assert shown.seen[-1].endswith("because cpu has no kernel of its own.")
    assert any("only while it is fixed" in sentence for sentence in shown.seen)
    assert any("not FLOPs" in sentence for sentence in shown.seen)


def test_exponents_come_from_all_lengths():
    points = [
        Point("dense", length, length**2, attention.Figure("s", "lower", (length / 1e3,)))
        for length in (100, 200, 400)
    ]
    (found,) = attention.growths(points)
    assert found.form == "dense"
    assert (found.time, found.memory) == pytest.approx((1, 2))


def test_one_length_is_one_message():
    with pytest.raises(ConfigError, match="two numbers or more"):
        Attention(lengths=(512,))
