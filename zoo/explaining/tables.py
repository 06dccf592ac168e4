"""Tables with a title and remarks, for a terminal, a page or a Markdown file."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from zoo.explaining.terminal import column_widths, show


@dataclass(frozen=True)
class Table:
    """A table with its title and remarks."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    has_numbers: bool = True
    """False: the columns are words, which a page aligns on the left."""


def count(value: float) -> str:
    """Return 70.1B, 1.33T or 1.3e+21 for a number of parameters, tokens or FLOPs."""
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if factor <= value < 1e15:
            return f"{value / factor:.3g}{unit}" if value < 999.5 * factor else f"{value:.3g}"
    return f"{value:.3g}"


def show_tables(console: Console, tables: Sequence[Table]) -> None:
    """Print the tables."""
    for each in tables:
        show(console, f"\n{each.title}", style="bold")
        widths = column_widths([each.head, *each.rows])
        for row in [each.head, *each.rows] if each.rows else []:
            first, *rest = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            text = f"  {first}  {'  '.join(rest)}".rstrip()
            console.print(text, markup=False, soft_wrap=True)
        for note in each.notes:
            show(console, note, indent=2)


def markdown(table: Table) -> str:
    """Return the table in Markdown, below its title as a heading."""
    lines = [f"## {table.title}", ""]
    if table.rows:
        lines += [_row(table.head), "|" + "---|" * len(table.head), *map(_row, table.rows), ""]
    lines += [line for note in table.notes for line in (note, "")]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
