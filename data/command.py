"""The front end of all commands: flags to a dataclass, and an exception to an exit code."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar, cast

import tyro
from rich.console import Console

from data.errors import DataConfigError, DataError
from data.flags import REGISTRY


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `run`; rich would exit with 1."""
        raise BrokenPipeError


def new_console(**options: Any) -> Console:
    """Return a console for text without highlights.

    In a notebook, too, it prints lines of plain text: rich would take the cell for a terminal, as
    kernels ask for colors, and print a bar anew ten times a second.
    """
    in_notebook = "ipykernel" in sys.modules
    plain = {"force_jupyter": False, "force_terminal": False} if in_notebook else {}
    return _Console(highlight=False, **plain, **options)


console = new_console(stderr=True)
"""Progress goes to stderr; stdout is for what a command produces."""

FIRST_CODE_OF_A_STOP = 75
"""The lowest exit code that means that a signal stopped the command; lower ones are failures."""

READER_LEFT = 141
"""The exit code if the output is no longer read, as a shell reports it for SIGPIPE."""

Command = TypeVar("Command")
Ending = tuple[int, str]
"""The exit code of a command that failed or was stopped, and the message for its user."""


def parse(
    kind: type[Command],
    argv: list[str],
    *,
    prog: str,
    description: str,
    default: Command | None = None,
) -> Command:
    """Fill the dataclass `kind` from flags; a mistake prints what is wrong and exits with 2.

    Args:
      prog: the command line that starts the command, for the help.
      description: the help's first paragraphs.
      default: the values that no flag changes; None: those of `kind`.
    """
    parsed = tyro.cli(
        tyro.conf.AvoidSubcommands[kind],
        args=argv,
        prog=prog,
        description=description,
        default=default,
        registry=REGISTRY,
    )
    return cast(Command, parsed)


def report(line: str) -> None:
    """Print a line of progress."""
    console.print(line, markup=False, soft_wrap=True)


def data_ending(error: BaseException) -> Ending | None:
    """Return how a command of `data` ends after `error`; None: `error` is a bug.

    The exit codes are 2 for a wrong flag, 3 for wrong data and 130 for Ctrl-C.
    """
    match error:
        case KeyboardInterrupt():
            return 130, "the same command resumes from here"
        case DataConfigError():
            return 2, str(error)
        case DataError():
            return 3, str(error)
        case _:
            return None


def _exit(code: int, error: BaseException) -> NoReturn:
    del error
    sys.exit(code)


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End the process without a message if the reader of its output, such as `head`, has left."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # --help exits
        if not _reader_has_left():
            raise
        # What is left is written at exit, where it would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_LEFT)


def _reader_has_left() -> bool:
    """Return whether stdout is a pipe that nobody reads."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # a program that captures the output
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def run(
    main: Callable[[list[str]], None],
    ending: Callable[[BaseException], Ending | None] = data_ending,
    leave: Callable[[int, BaseException], NoReturn] = _exit,
) -> None:
    """Run a command's `main` on argv; print what went wrong as one message and exit with its code.

    Args:
      ending: returns how the command ends after an exception; None: the exception is raised again.
      leave: ends the process with the exit code after an exception.
    """
    try:
        with _reader_may_leave():
            main(sys.argv[1:])
    except (KeyboardInterrupt, Exception) as error:
        ended = ending(error)
        if ended is None:
            raise
        code, message = ended
        word = "error" if code < FIRST_CODE_OF_A_STOP else "stopped"
        console.print(f"[bold red]{word}:[/] ", end="")
        report(message)
        leave(code, error)
