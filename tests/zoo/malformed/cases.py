"""The number of malformed inputs to try, and the random generator of each."""

import math
import os

import pytest

NUM_CASES = int(os.environ.get("MALFORMED_CASES", "100"))
"""Cases over all kinds of input. `MALFORMED_CASES=1000 pytest tests/zoo/malformed` tries more."""


def seeds(share: float, kind: str) -> list[str]:
    """Return the seeds of the cases of one kind, which has this share of all cases."""
    return [f"{kind} {number}" for number in range(math.ceil(share * NUM_CASES))]


def cases(share: float, kind: str) -> pytest.MarkDecorator:
    """Call a test with the seed of every case of one kind."""
    return pytest.mark.parametrize("seed", seeds(share, kind))
