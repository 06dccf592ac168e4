"""A strict look at a page: well-formed, self-contained, with unique ids."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br"}
_LOADS = ("src", "srcset", "action", "data", "poster", "background")


@dataclass
class Page(HTMLParser):
    """The text of a page and its elements, read with every end tag checked."""

    text: str = ""
    tags: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", *_LOADS):
                self.links.append(value or "")
            assert not name.startswith("on"), f"{tag} has a handler {name}"

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def parse(html: str) -> Page:
    """The page, which must be well-formed and need nothing but itself."""
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        assert link == "data:," or link.removeprefix("#") in page.ids, link
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    return page
