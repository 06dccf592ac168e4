"""The seconds of calls that are made in turn, and how a figure grows with a length."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from zoo.benchmarking.machine import processor
from zoo.benchmarking.spread import Figure, Spread
from zoo.distribution.devices import describe_devices


def in_turn(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Figure]:
    """Return the seconds of each call: once without counting, then all in turn `repeats` times.

    What else the machine does from minute to minute then falls on all of them alike. A call returns
    arrays, for which the clock waits.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            start_s = time.perf_counter()
            jax.block_until_ready(call())
            if number:
                seconds[name].append(time.perf_counter() - start_s)
    return {name: Figure("s", "lower", tuple(values)) for name, values in seconds.items()}


def growth(lengths: Sequence[int], values: Sequence[float]) -> float:
    """Return the exponent e of values ~ length^e, by least squares of the logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def milliseconds(spread: Spread) -> str:
    """Return a median with its quartiles, `12.3 (12.1 to 12.9)`."""
    median, low, high = map(_three_digits, (1e3 * value for value in spread))
    return f"{median} ({low} to {high})"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(spread: Spread) -> str:
    """Return a ratio with its quartiles, `2.10x (2.05 to 2.20)`."""
    return f"{spread.median:.2f}x ({spread.low:.2f} to {spread.high:.2f})"


def machine() -> str:
    """Return the devices and the processor in words."""
    return f"{describe_devices()}, {processor()}, jax {jax.__version__}"
