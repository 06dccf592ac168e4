"""How many malformed inputs to try, and the random generator of each."""

import os
import random

NUM_CASES = int(os.environ.get("MALFORMED_CASES", "100"))
"""Cases over all kinds of input. `MALFORMED_CASES=1000 pytest tests/zoo/malformed` tries more."""


def seeds(share: float, kind: str) -> list[random.Random]:
    """Return the generators of the cases of one kind, which has this share of all cases."""
    return [random.Random(f"{kind} {number}") for number in range(max(1, int(share * NUM_CASES)))]
