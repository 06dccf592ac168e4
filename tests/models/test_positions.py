"""Rotary positions."""

import jax.numpy as jnp
import numpy as np

from models.config import Rotary, SlowedRotation
from models.positions import rotate, slow_down
from tests.reference import parts

HEAD = np.random.default_rng(0).normal(size=(2, 14))  # a query and a key


def rotated(vector: np.ndarray, positions) -> np.ndarray:
    """Return the vector rotated to each of T positions, [T, H]."""
    x = jnp.broadcast_to(jnp.asarray(vector, jnp.float32), (1, len(positions), 1, 14))
    return np.asarray(rotate(x, jnp.asarray(positions)[None], Rotary(theta=100.0)))[0, :, 0]


def test_rotation_equals_the_papers_complex_numbers():
    x = np.random.default_rng(0).normal(size=(2, 11, 3, 14))
    positions = jnp.broadcast_to(jnp.arange(11), (2, 11))
    ours = rotate(jnp.asarray(x, jnp.float32), positions, Rotary(theta=100.0))
    for row in range(2):
        np.testing.assert_allclose(ours[row], parts.rope(x[row], theta=100.0), atol=1e-5)


def test_score_of_a_query_and_a_key_depends_only_on_their_distance():
    starts = np.array([0, 5, 31, 97])
    for distance in (0, 3, 7):
        query, key = rotated(HEAD[0], starts + distance), rotated(HEAD[1], starts)
        scores = (query * key).sum(axis=-1)
        np.testing.assert_allclose(scores, scores[0], rtol=1e-4, atol=1e-4)
    by_distance = (rotated(HEAD[0], np.arange(7)) * rotated(HEAD[1], np.zeros(7, int))).sum(-1)
    assert np.abs(np.diff(by_distance)).min() > 1e-3


def test_rotation_keeps_lengths_and_leaves_position_zero():
    turned = rotated(HEAD[0], np.arange(13))
    np.testing.assert_allclose((turned**2).sum(-1), (HEAD[0] ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(turned[0], HEAD[0], rtol=1e-6)


def test_slow_pairs_are_slowed_fast_ones_kept_and_the_others_blended():
    # Turns over the original length: below, in the middle of and above the blended range.
    slowed = SlowedRotation(factor=8.0, slow_turns=1.0, fast_turns=4.0, original_length=100)
    turns = np.array([0.5, 2.5, 7.0])
    expected = turns * [1 / 8, (1 + 1 / 8) / 2, 1]
    to_frequency = 2 * np.pi / 100
    ours = slow_down(jnp.asarray(turns * to_frequency, jnp.float32), slowed)
    np.testing.assert_allclose(ours, expected * to_frequency, rtol=1e-5)
