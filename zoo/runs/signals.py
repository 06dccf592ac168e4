"""Requests to stop a run: Ctrl-C and pre-emption. Standard library only."""

import signal
import threading
from types import FrameType
from typing import ClassVar, Self


class StopRequest:
    """Note SIGINT (Ctrl-C) and SIGTERM (pre-emption) while the block runs.

    The loop can then save and leave between two steps. A second Ctrl-C stops at once. Only the main
    thread receives signals: in any other thread, nothing is noted.
    """

    EXIT_CODES: ClassVar = {signal.SIGINT: 130, signal.SIGTERM: 75}

    def __init__(self):
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in self.EXIT_CODES:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
