"""Dropout."""

import jax
import jax.numpy as jnp
import numpy as np

from models.dropout import dropout, split_key

ONES = jnp.ones((101, 103))


def test_zeroes_the_rate_and_scales_the_rest():
    dropped = np.asarray(dropout(ONES, 0.3, jax.random.key(0)))
    assert abs((dropped == 0).mean() - 0.3) < 0.02  # over four standard deviations
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.7, rtol=1e-6)


def test_one_key_always_drops_the_same_and_another_key_does_not():
    first, again, other = (dropout(ONES, 0.3, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.3


def test_without_a_key_or_a_rate_nothing_changes():
    assert dropout(ONES, 0.3, None) is ONES
    assert dropout(ONES, 0.0, jax.random.key(0)) is ONES


def test_precision_is_kept():
    assert dropout(ONES.astype(jnp.bfloat16), 0.3, jax.random.key(0)).dtype == jnp.bfloat16


def test_split_gives_distinct_keys_or_none():
    keys = split_key(jax.random.key(0), 3)
    numbers = [float(jax.random.uniform(key)) for key in keys if key is not None]
    assert len(set(numbers)) == 3
    assert split_key(None, 3) == [None, None, None]
