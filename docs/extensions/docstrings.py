"""Docstrings are plain text with Markdown's backticks; this turns them into reStructuredText."""

import re

from sphinx.application import Sphinx

_CODE = re.compile(r"(`+)(.+?)\1")


def to_rst(lines: list[str]) -> list[str]:
    """Return the lines with code marked as code, and everything else as it is read.

    An indented block after a line that ends in a colon is a drawing.
    """
    converted: list[str] = []
    in_drawing = False
    for line in lines:
        before = next((text for text in reversed(converted) if text), "")
        is_indented = line.startswith("    ") and not before.lstrip().startswith(":")
        in_drawing = in_drawing and (is_indented or not line)
        if not in_drawing and is_indented and before.endswith(":") and not converted[-1]:
            in_drawing = True
            converted[-1:] = ["", "::", ""]
        converted.append(line if in_drawing else _convert(line))
    return converted


def _convert(line: str) -> str:
    if line.lstrip().startswith((":", "..", ">>>")):
        return line  # a field, a directive or an example
    parts, end = [], 0
    for code in _CODE.finditer(line):
        parts += [_escape(line[end : code.start()]), f"``{code[2]}``"]
        # A letter after the mark would hide its end.
        parts += ["\\ "] if line[code.end() : code.end() + 1].isalnum() else []
        end = code.end()
    return "".join([*parts, _escape(line[end:])])


def _escape(text: str) -> str:
    return re.sub(r"([*|]|_(?=\W|$))", r"\\\1", text)


def short_types(text: str | None) -> str | None:
    """Return a signature in which an array is called as in the code."""
    return text and text.replace("jaxlib._jax.Array", "Array")


def setup(app: Sphinx) -> dict[str, bool]:
    """Convert every docstring before napoleon reads its sections, and every signature."""

    def docstring(app: Sphinx, what: str, name: str, found: object, options: object, lines: list):
        lines[:] = to_rst(lines)

    def signature(
        app: Sphinx,
        what: str,
        name: str,
        found: object,
        options: object,
        arguments: str | None,
        result: str | None,
    ):
        return short_types(arguments), short_types(result)

    app.connect("autodoc-process-docstring", docstring, priority=400)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
