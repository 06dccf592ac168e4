"""What the commands of `data` share: from flags to a dataclass, from an exception to an exit code."""

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

import tyro
from rich.console import Console

from data.errors import DataConfigError, DataError

console = Console(stderr=True, highlight=False)
"""Progress goes to stderr; stdout is for what a command produces."""

_SHORT_FLAGS = {"--task": "--data.task", "--data-dir": "--data.data-dir"}

Command = TypeVar("Command")


def expand_short_flags(argv: Iterable[str]) -> list[str]:
    """`--task` and `--data-dir` are short for `--data.task` and `--data.data-dir`."""
    expanded = []
    for flag in argv:
        name, equals, value = flag.partition("=")
        expanded.append(_SHORT_FLAGS.get(name, name) + equals + value)
    return expanded


def parse(kind: type[Command], argv: list[str], *, prog: str, description: str) -> Command:
    """Fill the dataclass `kind` from flags. A mistake prints what is wrong and exits with 2."""
    return tyro.cli(kind, args=expand_short_flags(argv), prog=prog, description=description)


def report(line: str) -> None:
    """Shows a line of progress."""
    console.print(line, markup=False, soft_wrap=True)


def run(main: Callable[[list[str]], None]) -> None:
    """Run a command's `main` on argv: exit code 2 for its flags, 3 for its data, 130 for Ctrl-C."""
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        _exit("stopped: ", "the same command goes on from here", 130)
    except DataConfigError as error:
        _exit("error: ", str(error), 2)
    except DataError as error:
        _exit("error: ", str(error), 3)


def _exit(kind: str, message: str, code: int) -> None:
    console.print(f"[bold red]{kind}[/]", end="")
    report(message)
    sys.exit(code)
