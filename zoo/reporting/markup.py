"""HTML pages that need nothing but themselves: no script, no font and no picture from elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

from zoo.common.html import Html, element, markup, table
from zoo.explaining.tables import Table
from zoo.reporting.plots import COLORS, GRID, INK, Panel
from zoo.reporting.svg import sample, svg


@dataclass(frozen=True)
class Section:
    """A part of the page below a heading."""

    title: str
    children: Sequence[Any]

    @property
    def id(self) -> str:
        """The name of the part in a link."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())

    def to_html(self) -> Html:
        """Return the element."""
        return element("section", element("h2", self.title), *self.children, id=self.id)


def section(title: str, *children: Any) -> Section:
    """Return a part of the page below a heading."""
    return Section(title, children)


def sections(*parts: Section) -> Html:
    """Return the parts of a page, with a line of links to them."""
    links = (element("a", part.title, href=f"#{part.id}") for part in parts)
    return Html("".join(map(markup, [element("nav", *links), *(p.to_html() for p in parts)])))


def table_section(each: Table) -> Section:
    """Return a part of the page with the table and its remarks."""
    class_ = "numbers" if each.has_numbers else ""
    rows = [table(each.head, each.rows, class_=class_)] if each.rows else []
    return section(each.title, *rows, *(element("p", note, class_="muted") for note in each.notes))


def tiles(items: Iterable[tuple[str, Any, str]]) -> Html:
    """Return the main numbers: the name, the number and a remark of each."""
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value), element("p", remark))
            for name, value, remark in items
        ),
        class_="tiles",
    )


def figure(panel: Panel) -> Html:
    """Return the picture of a panel with its title, and a legend if several lines have names."""
    title = element("figcaption", panel.title)
    named = [line for line in panel.lines if line.label]
    names = [element("li", Html(sample(line.style)), line.label) for line in named]
    legend = [element("ul", *names, class_="legend")] if len(names) > 1 else []
    return element("figure", title, *legend, Html(svg(panel)))


@dataclass(frozen=True)
class Reload:
    """The browser loads the page again, as a person would; for a file."""

    every_s: int


@dataclass(frozen=True)
class Update:
    """A script takes the page's new content from its server; what is unfolded stays so."""

    every_s: int

    @property
    def script(self) -> str:
        """The only script of any page."""
        return f"""
setInterval(async () => {{
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = [...document.querySelectorAll("details[open]")].map((part) => part.id);
  document.querySelector("main").replaceWith(page.querySelector("main"));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  document.title = page.title;
}}, {self.every_s} * 1000);
"""


def page(title: str, *children: Any, live: Reload | Update | None = None) -> str:
    """Return the whole document.

    Args:
      live: the way in which an open page follows its run; None: it does not change any more.
    """
    body = "\n".join(map(markup, children))
    policy, head, script = "default-src 'none'; style-src 'unsafe-inline'; img-src data:", "", ""
    match live:
        case Reload(every_s=every_s):
            head = f'<meta http-equiv="refresh" content="{every_s}">\n'
        case Update():
            digest = b64encode(sha256(live.script.encode()).digest()).decode()
            policy += f"; connect-src 'self'; script-src 'sha256-{digest}'"
            script = f"<script>{live.script}</script>\n"
        case None:
            pass
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'{head}<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{script}</body>\n</html>\n"
    )


_LIGHT = "".join(f"--c{i}:{color};" for i, color in enumerate(COLORS))
_DARK_COLORS = ("#56b4e9", "#ff9e57", "#3ddbad", "#cf9bea", "#e6c25c", "#ff7eb0", "#9cd0f5", "#bbb")
_DARK = "".join(f"--c{i}:{color};" for i, color in enumerate(_DARK_COLORS))
_CSS = f"""
:root {{ color-scheme: light dark; --ink:{INK}; --grid:{GRID}; --paper:#fff; --soft:#f4f6f8;
  --muted:#59616e; --good:#00734f; --bad:#b3261e; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink:#e6e9ee; --grid:#3a424e; --paper:#14171c;
  --soft:#1d2229; --muted:#a3acb9; --good:#3ddbad; --bad:#ff8a80; {_DARK} }} }}
""" + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 12px; border-bottom: 1px solid var(--grid);
  padding-bottom: 4px; }
h3 { font-size: 1rem; margin: 20px 0 6px; }
p { margin: 4px 0; }
.muted, .tiles p { color: var(--muted); font-size: .86rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 20px 0; }
.tiles > div { background: var(--soft); border-radius: 8px; padding: 10px 14px; }
dt { color: var(--muted); font-size: .86rem; }
dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.charts { display: grid; gap: 20px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
figure { margin: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: var(--ink); }
svg path:not(.band) { fill: none; }
svg .band { opacity: .18; }
svg .grid { stroke: var(--grid); stroke-width: .8; }
svg .level { stroke: var(--ink); stroke-width: 1; opacity: .7; }
svg .mark { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 2 3; }
svg .line { stroke-width: 2; stroke-linejoin: round; }
svg .noise { stroke-width: .8; opacity: .35; }
.legend { list-style: none; padding: 0; margin: 0; display: flex; flex-wrap: wrap;
  gap: 0 16px; font-size: .86rem; }
mark { background: #ffe58a; color: #1b2028; padding: 0 4px; border-radius: 3px; }
.sample { width: 34px; display: inline-block; vertical-align: middle; margin-right: 8px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
th { color: var(--muted); font-weight: 600; }
td { overflow-wrap: break-word; }
.numbers td:not(:first-child), .numbers th:not(:first-child) { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.config th:first-child { width: 24%; } .config th:nth-child(2) { width: 18%; }
.differences td { min-width: 7em; }
.config td:first-child, .differences td:first-child { font-size: .84rem;
  font-family: ui-monospace, monospace; }
@media (min-width: 601px) { .events td:nth-child(2) { white-space: nowrap; } }
.config td:nth-child(2) { font-weight: 600; }
pre { background: var(--soft); border-radius: 8px; padding: 12px 14px; margin: 6px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font: .86rem/1.45 ui-monospace, monospace; }
nav { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: .9rem; }
a { color: var(--c0); }
summary { cursor: pointer; padding: 4px 0; }
@media (max-width: 600px) {
  .tiles { grid-template-columns: 1fr 1fr; }
  .config thead { display: none; }
  .config tr { display: block; border-bottom: 1px solid var(--grid); padding: 6px 0; }
  svg text { font-size: 14px; }
  .config td { display: block; border: 0; padding: 0; overflow-wrap: anywhere; }
  .config td:last-child { color: var(--muted); font-size: .84rem; }
}
@media print {
  :root { color-scheme: light; --ink:#000; --grid:#bbb; --paper:#fff; --soft:#fff; --muted:#333;
    --good:#00734f; --bad:#b3261e; LIGHT }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .tiles > div, pre { border: 1px solid var(--grid); }
  .charts { grid-template-columns: 1fr 1fr; }
  figure, tr, pre, .tiles > div { break-inside: avoid; }
  h2, h3, thead, summary { break-after: avoid; }
  nav { display: none; }
  .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
""".replace("LIGHT", _LIGHT)  # fmt: skip
