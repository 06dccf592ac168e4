"""The progress of a command, as lines and bars on the terminal."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

LINE_EVERY_S = 10.0
"""Seconds between lines of progress if there is no terminal to draw a bar on."""


class Progress:
    """Lines, warnings and bars on a console, with the seconds since the start."""

    def __init__(self, console: Console):
        self._console = console
        self._started_s = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started_s

    def line(self, text: str) -> None:
        """Print `text` after the seconds since the start."""
        self._console.print(f"[dim]{self.elapsed_s:6.1f}s[/]  ", end="")
        self._console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print `text` as a warning."""
        self._console.print("[bold white on red] WARNING [/] ", end="")
        self._console.print(text, markup=False, soft_wrap=True)

    def track(self, task: str, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Yield the items; if that takes long, show how many are done and the time left."""
        if self._console.is_terminal:
            yield from track(items, task, total, console=self._console, transient=True)
            return
        started_s = last_line_s = time.perf_counter()
        for done, item in enumerate(items):
            now_s = time.perf_counter()
            if done and now_s - last_line_s > LINE_EVERY_S:
                last_line_s = now_s
                left_s = (now_s - started_s) / done * (total - done)
                self.line(f"{task} {done}/{total}{eta(left_s)}")
            yield item


def eta(left_s: float) -> str:
    """Return the time left as text, for example `  ETA 2:05`."""
    minutes, seconds = divmod(round(left_s), 60)
    return f"  ETA {minutes}:{seconds:02}"
