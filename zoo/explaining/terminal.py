"""Text laid out for the width of a terminal, or plain and 120 columns wide in a pipe or a file."""

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console

from data.command import new_console

WIDTH = 120
"""Columns of the output if stdout is not a terminal."""


def stdout_console() -> Console:
    """Return the console on which a command prints its result."""
    console = new_console()
    return console if console.is_terminal else new_console(width=WIDTH)


def show(console: Console, text: str, *, style: str = "", indent: int = 0, lead: str = "") -> None:
    """Print every line wrapped to the width of the console.

    Args:
      indent: columns to the left of the text.
      lead: text to print in the indent of the first line.
    """
    for line in text.splitlines() or [""]:
        wrapped = textwrap.wrap(
            line,
            max(console.width, indent + 20),
            initial_indent=lead.ljust(indent),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for part in wrapped or [""]:
            # soft_wrap keeps rich from wrapping and padding once more.
            console.print(part, style=style, markup=False, soft_wrap=True)
        lead = ""


def show_entries(console: Console, title: str, entries: Iterable[tuple[str, str]]) -> None:
    """Print a heading and, below it, each name with its text to the right."""
    entries = list(entries)
    indent = max(len(name) for name, _ in entries) + 4
    show(console, f"\n{title}", style="bold")
    for name, text in entries:
        show(console, text, indent=indent, lead=f"  {name}")


def columns_that_fit(
    rows: Sequence[Sequence[str]], importance: Sequence[int], width: int
) -> list[int]:
    """Return the indices of the columns that fit into `width` with one space between them.

    The columns of lowest `importance` are left out first; one always stays.
    """
    widths = column_widths(rows)
    shown = list(range(len(widths)))
    while len(shown) > 1 and sum(widths[i] + 1 for i in shown) - 1 > width:
        shown.remove(min(shown, key=lambda i: importance[i]))
    return shown


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the length of the longest cell of each column."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def three_digits(value: float) -> str:
    """Format a number with two decimals below 10 and with none from 10 on: 0.57, 23 and 1,234."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
