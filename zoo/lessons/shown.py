"""The result of a lesson: sentences, tables and pictures, as a page, a picture or JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.common.html import Html, element
from zoo.explaining.tables import Table
from zoo.reporting.markup import figure, page, section, sections, table_section
from zoo.reporting.plots import Panel, picture


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The measurements of a lesson, and the sentences on what is seen in them."""

    title: str
    seen: Sequence[str]
    """Sentences: what is seen, and what is often misunderstood."""
    tables: Sequence[Table]
    panels: Sequence[Panel]
    drawings: Sequence[tuple[str, str]] = ()
    """Titles and SVG elements of pictures that only the page has."""
    device: str
    """The devices, and the processor of the computer."""
    compared: Sequence[dict[str, Any]]
    """JSON values of each thing that is compared."""
    measured: Sequence[dict[str, Any]]
    """JSON values of each measurement."""
    differences: Sequence[dict[str, Any]] = ()
    """JSON values of each difference between trained models."""
    published: Sequence[dict[str, Any]] = ()
    """JSON values of each result of a paper that stands beside."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values. Field names are stable; docs/json.md has them."""
        return {
            "title": self.title,
            "device": self.device,
            "seen": list(self.seen),
            "compared": list(self.compared),
            "measured": list(self.measured),
            "differences": list(self.differences),
            "published": list(self.published),
        }

    def content(self, out: str, command: str) -> str | bytes:
        """Return the content of the file `out`: a page, or the pictures alone.

        Args:
          command: the command line that repeats the measurement.
        """
        kind = Path(out).suffix.removeprefix(".")
        return self.page(command) if kind == "html" else picture(self.panels, kind=kind)

    def page(self, command: str) -> str:
        """Return the page as HTML."""
        drawn = [
            element("figure", element("figcaption", title), Html(drawing))
            for title, drawing in self.drawings
        ]
        charts = element("div", *drawn, *map(figure, self.panels), class_="charts")
        parts = [
            section("Seen", *(element("p", sentence) for sentence in self.seen)),
            section("Pictures", charts),
            *map(table_section, self.tables),
            section("Command", element("pre", command), element("p", f"On {self.device}.")),
        ]
        return page(self.title, element("h1", self.title), sections(*parts))
