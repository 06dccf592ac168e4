"""What is asked of cuDNN, answered by XLA: the same values and gradients as in blocks."""

import functools

import jax
import numpy as np
import pytest

from models.attention import cudnn
from models.positions import Positions
from tests.models.attention.samples import in_blocks, random_inputs, value_and_gradient

dot_product_attention = jax.nn.dot_product_attention


def answered_by_xla(*args, implementation: str, **kwargs) -> jax.Array:
    assert implementation == "cudnn"
    return dot_product_attention(*args, implementation="xla", **kwargs)


@pytest.mark.parametrize(
    ("num_kv_heads", "window"),
    [(4, None), (1, None), (2, 11)],
    ids=["multi-head", "multi-query", "grouped, banded"],
)
def test_values_and_gradients_equal_those_in_blocks(
    num_kv_heads: int, window: int | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jax.nn, "dot_product_attention", answered_by_xla)
    queries, _, keys = random_inputs(43, num_kv_heads)
    positions = Positions.whole_rows(2, 43)
    expected = value_and_gradient(in_blocks, queries, positions, keys, window)
    attend = functools.partial(without_positions, cudnn.attend)
    found = value_and_gradient(attend, queries, positions, keys, window)
    for theirs, ours in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def without_positions(attend, queries, positions, keys, window):
    del positions
    return attend(queries, keys, window)
