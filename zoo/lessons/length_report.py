"""The loss by position as a table and as a page."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from zoo.common.html import element
from zoo.explaining.tables import Table
from zoo.lessons.length import LossByPosition, Part
from zoo.reporting.markup import figure, page, section, sections, table_section
from zoo.reporting.plots import Line, Panel

PARTS = (("1/4 to 1/2", 0.25, 0.5), ("1/2 to 1", 0.5, 1), ("1 to 2", 1, 2), ("2 to 4", 2, 4))
"""Parts of a window, in units of the trained length."""
GROUPS = 24
"""Points of a curve: neighbouring positions are averaged."""


def length_table(measured: Sequence[LossByPosition]) -> Table:
    """Return the loss in parts of the window."""
    rows = []
    for each in measured:
        losses = [_part(each, low, high) for _, low, high in PARTS]
        rows.append([each.name, each.positions, f"{each.trained_length:,}", *losses])
    note = (
        "Nats per token after that many trained lengths of context, each window within one "
        "document. In brackets: the change against the same tokens predicted from no more than the "
        "trained length, with its standard error; below zero, more context helps. Runs with other "
        "vocabularies compare along a row only. `no further`: learned positions end at the "
        "context; `-`: the window ends."
    )
    head = ("run", "positions", "trained length", *(name for name, _, _ in PARTS))
    return Table("Loss by position", head, rows, [note])


def _part(each: LossByPosition, low: float, high: float) -> str:
    part = each.part(low, high)
    if part is None:
        return "no further" if each.positions == "learned" and high > 1 else "-"
    error = "" if part.error is None else f" +- {part.error:.3f}"
    change = f" ({part.change:+.3f}{error})" if low >= 1 else ""
    return f"{part.loss:.3f}{change}"


def length_page(measured: Sequence[LossByPosition]) -> str:
    """Return the page as HTML."""
    title = "Loss by position"
    curves = section("Curves", element("div", figure(length_panel(measured)), class_="charts"))
    return page(
        title, element("h1", title), sections(curves, table_section(length_table(measured)))
    )


def length_panel(measured: Sequence[LossByPosition]) -> Panel:
    """Return the curves; a vertical mark is where the training sequences ended."""
    lines, marks = [], {}
    for style, each in enumerate(measured):
        edges = np.unique(np.geomspace(1, each.nats.shape[1], GROUPS).round().astype(int))
        x = np.sqrt(edges[:-1] * edges[1:])
        y = np.array([each.nats[:, a - 1 : b].mean() for a, b in pairwise(edges.tolist())])
        lines.append(Line(f"{each.name} ({each.positions})", x, y, style=style))
        marks[float(each.trained_length)] = "the trained length"
    return Panel(
        "loss by position", "tokens of context", "nats per token", lines, marks=marks,
        scales=("log", "linear"),
    )  # fmt: skip


def to_json(measured: Sequence[LossByPosition]) -> dict[str, Any]:
    """Return the results as JSON values. Field names are stable; docs/json.md has them."""
    return {
        "models": [
            {
                "run": each.name,
                "positions": each.positions,
                "trained_length": each.trained_length,
                "num_windows": len(each.nats),
                "parts": {name: _json(each.part(low, high)) for name, low, high in PARTS},
                "nats": each.nats.mean(0).tolist(),
            }
            for each in measured
        ]
    }


def _json(part: Part | None) -> dict[str, float | None] | None:
    if part is None:
        return None
    return dataclasses.asdict(part)
