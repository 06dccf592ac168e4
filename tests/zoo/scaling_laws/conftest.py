"""Synthetic runs of a law with known constants."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread():
    """As in `zoo.scaling_laws.fit.fit`."""
    with threadpool_limits(1, user_api="blas"):
        yield
