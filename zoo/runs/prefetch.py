"""Prefetching: the next batches reach the devices while the current step runs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

AHEAD = 2
"""Batches that are prepared ahead of the step that reads them."""

Batch = TypeVar("Batch")


@contextmanager
def prefetched(make: Callable[[int], Batch], steps: Iterable[int]) -> Iterator[Callable[[], Batch]]:
    """Yield a function that returns `make(step)` for one step after another, computed in a thread.

    It raises what `make` raised.
    """
    remaining = iter(steps)
    with ThreadPoolExecutor(1, "prefetch") as pool:
        ready = deque(pool.submit(make, step) for step in islice(remaining, AHEAD))

        def take() -> Batch:
            batch = ready.popleft().result()
            ready.extend(pool.submit(make, step) for step in islice(remaining, 1))
            return batch

        try:
            yield take
        finally:
            pool.shutdown(cancel_futures=True)
