"""Requests to stop a run: Ctrl-C, pre-emption, the end of its time. Standard library only."""

import math
import threading
import time
from signal import SIGALRM, SIGINT, SIGTERM, Signals
from signal import signal as set_handler
from types import FrameType
from typing import ClassVar, Self


class StopRequest:
    """Note SIGINT (Ctrl-C) and SIGTERM (pre-emption) while the block runs, and when time is up.

    The loop can then save and leave between two steps. A second Ctrl-C stops at once. Only the main
    thread receives signals: in any other thread, none is noted.
    """

    EXIT_CODES: ClassVar = {SIGINT: 130, SIGTERM: 75, SIGALRM: 76}

    def __init__(self, deadline_s: float = math.inf):
        """`deadline_s`: the reading of `time.monotonic` at which time is up."""
        self._deadline_s = deadline_s
        self._noted: Signals | None = None

    @property
    def signal(self) -> Signals | None:
        """The signal that asks to stop, SIGALRM if time is up; None if nothing does."""
        if self._noted is None and time.monotonic() >= self._deadline_s:
            return SIGALRM
        return self._noted

    def __enter__(self) -> Self:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (SIGINT, SIGTERM):
                self._previous[number] = set_handler(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            set_handler(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted == number == SIGINT:
            raise KeyboardInterrupt
        self._noted = Signals(number)
