"""Text laid out for the width of a terminal; plain, and wide enough, in a pipe or a file."""

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console

WIDTH = 120
"""Columns, where there is no terminal to ask."""


def stdout_console() -> Console:
    """For what a command produces."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def show(console: Console, text: str, *, style: str = "", indent: int = 0, lead: str = "") -> None:
    """Print every line wrapped to the width; `lead` stands in the indent of the first."""
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
            # soft_wrap, so that rich neither wraps again nor pads
            console.print(part, style=style, markup=False, soft_wrap=True)
        lead = ""


def show_entries(console: Console, title: str, entries: Iterable[tuple[str, str]]) -> None:
    """A heading, and below it names with what there is to say about each on their right."""
    entries = list(entries)
    indent = max(len(name) for name, _ in entries) + 4
    show(console, f"\n{title}", style="bold")
    for name, text in entries:
        show(console, text, indent=indent, lead=f"  {name}")


def fitting(rows: Sequence[Sequence[str]], importance: Sequence[int], width: int) -> list[int]:
    """Which columns of a table fit into `width`, one space apart.

    Args:
      importance: of each column; the lowest are left out first.
    """
    widths = column_widths(rows)
    shown = list(range(len(widths)))
    while len(shown) > 1 and sum(widths[i] + 1 for i in shown) - 1 > width:
        shown.remove(min(shown, key=lambda i: importance[i]))
    return shown


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of the longest cell of each column."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
