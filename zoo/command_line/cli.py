"""The front end of the zoo's commands: data/command.py, with the zoo's errors and exit codes."""

import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

from data import command
from zoo.common.process import AbortHandler

console, report = command.console, command.report

Flags = TypeVar("Flags")


def parse(
    kind: type[Flags],
    argv: list[str],
    *,
    prog: str,
    description: str,
    default: Flags | None = None,
) -> Flags:
    """Fill the dataclass `kind` from flags; `--mesh=auto` is short for `--mesh.auto`."""
    argv = ["--mesh.auto" if flag == "--mesh=auto" else flag for flag in argv]
    return command.parse(kind, argv, prog=prog, description=description, default=default)


def run(main: Callable[[list[str]], None]) -> None:
    """Run a command's `main` on argv and exit with the code of zoo.common.errors."""
    command.run(main, _ending, _leave)


def _ending(error: BaseException) -> command.Ending | None:
    """Return the exit code and the message for `error`; None for an internal error."""
    if not isinstance(error, Exception):
        return 130, "by Ctrl-C"
    # Imported late: it is needed only when something went wrong.
    from zoo.common.errors import exit_code, message

    code = exit_code(error)
    if code is None:
        AbortHandler.expect(1)
        return None
    return code, message(error)


def _leave(code: int, error: BaseException) -> NoReturn:
    from zoo.common.errors import is_lost_host

    # Late threads, and objects that are destroyed at exit, may fail again for the same reason.
    threading.excepthook = sys.unraisablehook = lambda _: None
    AbortHandler.expect(code)
    if is_lost_host(error):
        # A normal exit would try to disconnect from processes that are gone.
        os._exit(code)
    sys.exit(code)
