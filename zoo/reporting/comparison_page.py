"""A comparison of runs as a page, as a picture and in a terminal."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from rich.console import Console

from zoo.common.html import element, table
from zoo.explaining.tables import Table, show_tables
from zoo.explaining.terminal import column_widths, show
from zoo.reporting.comparison import CONFIDENCE, Comparison, numbers
from zoo.reporting.config_sources import show_value
from zoo.reporting.curves import line
from zoo.reporting.markup import figure, page, section, sections, table_section
from zoo.reporting.plots import Line, Panel, picture
from zoo.reporting.recorded_run import BITS_PER_BYTE, TOKENS, RecordedRun
from zoo.reporting.run_page import duration, short

Axis = Literal["tokens", "steps", "flops"]

HEAD = (
    "run", "bits per byte", "best, at step", "validation loss", "training loss", "parameters",
    "tokens", "tokens/s", "step", "wall time", "status",
)  # fmt: skip
_AXES: dict[Axis, str] = {
    "tokens": "tokens",
    "steps": "step",
    "flops": "training FLOPs (6N + 12LHQT a token)",
}
_PANELS = {
    "train/loss": ("training loss", "nats per token"),
    BITS_PER_BYTE: ("validation", "bits per byte"),
}


def panels(comparison: Comparison, over: Axis) -> list[Panel]:
    """Return the panels of the training loss and of bits per byte, one line per run."""
    over = over if all(_has_axis(run, over) for run in comparison.runs) else "steps"
    levels = [run.record.baselines for run in comparison.runs]
    shared = levels[0] if all(level == levels[0] for level in levels) else {}
    return [
        Panel(
            title,
            _AXES[over],
            unit,
            [
                _line(run, name, label, number, over)
                for number, (run, label) in enumerate(
                    zip(comparison.runs, comparison.labels, strict=True)
                )
                if name in run.history.curves
            ],
            shared if name == BITS_PER_BYTE else {},
            shows="end",
        )
        for name, (title, unit) in _PANELS.items()
    ]


def _has_axis(run: RecordedRun, over: Axis) -> bool:
    if over == "steps":
        return True
    return TOKENS in run.history.curves and (over == "tokens" or run.flops_per_token is not None)


def _line(run: RecordedRun, name: str, label: str, number: int, over: Axis) -> Line:
    counter = "step" if over == "steps" else TOKENS
    scale = 1.0 if over != "flops" else run.flops_per_token or np.nan
    return line(run.history, name, label, style=number, over=counter, scale=scale)


def number_rows(comparison: Comparison) -> list[list[str]]:
    """Return the cells below HEAD, one row per run."""
    return [
        _number_row(label, run)
        for label, run in zip(comparison.labels, comparison.runs, strict=True)
    ]


def _number_row(label: str, run: RecordedRun) -> list[str]:
    values = numbers(run)

    def cell(key: str, form: str) -> str:
        return "-" if values[key] is None else format(values[key], form)

    best = "-"
    if values["best_step"] is not None:
        best = f"{values['best_bits_per_byte']:.4f} at {values['best_step']:,}"
    steps = f"{values['step']:,}"
    if values["num_steps"] not in (None, values["step"]):
        steps += f" of {values['num_steps']:,}"
    return [
        label,
        cell("bits_per_byte", ".4f"),
        best,
        cell("eval_loss", ".4f"),
        cell("train_loss", ".4f"),
        *(
            "-" if values[k] is None else short(values[k])
            for k in ("num_params", "tokens", "tokens_per_s")
        ),
        steps,
        "-" if values["wall_s"] is None else duration(values["wall_s"]),
        run.status.partition(":")[0],
    ]


def repeats_table(comparison: Comparison) -> Table:
    """Return the scores of the configs that were repeated with other seeds."""
    rows = [
        [
            each.label,
            str(len(each.scores)),
            f"{each.mean:.4f}",
            "{:.4f} to {:.4f}".format(*each.interval),
            f"{each.std:.4f}",
            f"{min(each.scores):.4f} to {max(each.scores):.4f}",
        ]
        for each in comparison.repeats
    ]
    note = (
        "Bits per byte at the end of finished runs that differ in nothing but their seeds. The "
        f"interval holds the mean over all seeds with probability {CONFIDENCE:.0%} (Student's t)."
    )
    head = ("config", "seeds", "mean", "interval", "standard deviation", "lowest to highest")
    return Table("Seeds", head, rows, [note])


def difference_rows(comparison: Comparison) -> list[list[str]]:
    """Return the differing keys with the value of each run."""
    return [
        [key, *("-" if value is None else show_value(value) for value in values)]
        for key, values in comparison.differences.items()
    ]


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the differences and the numbers as tables."""
    labels = comparison.labels
    rows = difference_rows(comparison)
    show(console, "Config: what differs", style="bold")
    if rows:
        _show_table(console, [["", *labels], *rows])
    else:
        show(console, "  nothing")
    show(console, "\nNumbers", style="bold")
    # One column per run: a terminal has room for more rows, not for more columns.
    _show_table(console, [list(row) for row in zip(HEAD, *number_rows(comparison), strict=True)])
    for note in comparison.notes:
        show(console, f"  note: {note}")
    if comparison.repeats:
        show_tables(console, [repeats_table(comparison)])


def _show_table(console: Console, rows: Sequence[Sequence[str]]) -> None:
    cut = [[cell if len(cell) <= 40 else f"{cell[:37]}..." for cell in row] for row in rows]
    widths = column_widths(cut)
    for row in cut:
        first, *rest = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        text = f"  {first}  {'  '.join(rest)}".rstrip()
        console.print(text, markup=False, soft_wrap=True)


def comparison_page(comparison: Comparison, over: Axis) -> str:
    """Return the page as HTML."""
    count = len(comparison.runs)
    title = " against ".join(comparison.labels) if count <= 2 else f"{count} runs"
    rows = difference_rows(comparison)
    differ = table(["key", *comparison.labels], rows, class_="differences") if rows else element(
        "p", "Nothing: the runs have the same config.", class_="muted"
    )  # fmt: skip
    folders = table(
        ["run", "name", "workdir"],
        [
            [label, run.record.name, str(run.workdir)]
            for label, run in zip(comparison.labels, comparison.runs, strict=True)
        ],
    )
    caption = (
        "Thick lines are means over one fiftieth of the run. The first twentieth may lie above "
        "the picture, so that the end can be told apart."
    )
    repeats = [table_section(repeats_table(comparison))] if comparison.repeats else []
    parts = sections(
        section(
            "Curves",
            element("div", *map(figure, panels(comparison, over)), class_="charts"),
            element("p", caption, class_="muted"),
        ),
        section(
            "Numbers",
            table(HEAD, number_rows(comparison), class_="numbers"),
            *(element("p", f"Note: {note}.", class_="muted") for note in comparison.notes),
        ),
        *repeats,
        section("What differs between the configs", differ),
        section("Folders", folders),
    )
    return page(title, element("h1", title), parts)


def comparison_picture(comparison: Comparison, over: Axis, kind: str) -> bytes:
    """Return the curves as a file of the `kind` png, svg or pdf."""
    return picture(panels(comparison, over), kind=kind)
