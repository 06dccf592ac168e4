"""Failures of what is not the run itself: they are reported, and the training goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True)
class Tolerated:
    """A context that passes an exception of its block to `report` instead of raising it."""

    report: Callable[[Exception], None]
    but: tuple[type[Exception], ...] = ()
    """Exceptions to raise all the same."""

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        del kind, traceback
        if not isinstance(error, Exception) or isinstance(error, self.but):
            return False
        self.report(error)
        return True
