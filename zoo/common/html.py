"""Markup: elements and tables of a page, or of what a notebook shows below a cell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Html:
    """Text that is markup already; any other text is escaped where a page takes it."""

    text: str


def markup(value: Any) -> str:
    """Return the value as markup."""
    return value.text if isinstance(value, Html) else escape(str(value))


def element(tag: str, *children: Any, **attributes: str) -> Html:
    """Return an element; an attribute `class_` is written `class`."""
    written = "".join(
        f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items()
    )
    return Html(f"<{tag}{written}>{''.join(map(markup, children))}</{tag}>")


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, class_: str = "") -> Html:
    """Return a table that scrolls sideways where it is too wide."""
    header = element("tr", *(element("th", cell, scope="col") for cell in head))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    parts = ([element("thead", header)] if head else []) + [element("tbody", *body)]
    return element("div", element("table", *parts, class_=class_), class_="scroll")
