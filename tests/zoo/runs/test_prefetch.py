import threading
import time

import pytest

from zoo.runs.prefetch import AHEAD, prefetched


def test_batches_come_in_order_and_once():
    with prefetched(lambda step: step * 10, range(3, 8)) as take:
        assert [take() for _ in range(5)] == [30, 40, 50, 60, 70]


def test_no_more_are_made_than_may_wait():
    made: list[int] = []
    with prefetched(made.append, range(100)):
        time.sleep(0.3)  # time for more
    assert made == list(range(AHEAD))


def test_leaving_early_ends_the_thread():
    with prefetched(lambda step: step, range(10**9)) as take:
        assert take() == 0
    assert not any("prefetch" in thread.name for thread in threading.enumerate())


def test_what_the_maker_raises_the_loop_gets():
    def make(step: int) -> int:
        if step == 2:
            raise OSError("the file is gone")
        return step

    with prefetched(make, range(5)) as take:
        assert [take(), take()] == [0, 1]
        with pytest.raises(OSError, match="the file is gone"):
            take()
