"""A curve drawn with Braille characters, two points a column."""

from collections.abc import Mapping, Sequence

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a Braille character: four dots, from the top, in each of its two columns."""
_EMPTY = 0x2800


def draw_curve(
    values: Sequence[float],
    *,
    top: float,
    height: int,
    y_labels: Sequence[str],
    x_labels: Mapping[float, str],
) -> list[str]:
    """Return the lines of a drawing of `values`, which lie between 0 and `top`.

    Args:
      values: the curve at even distances, two for each column of text.
      height: lines of the curve itself.
      y_labels: names of `top`, of half of it and of zero.
      x_labels: names of points below the curve, by their place from 0 at the left to 1.
    """
    width = -(-len(values) // 2)
    cells = [[_EMPTY] * width for _ in range(height)]
    before = None
    for x, value in enumerate(values):
        dot = round((1 - value / top) * (4 * height - 1))
        start = dot if before is None else before
        # A steep piece of the curve fills all dots up to its neighbour's.
        steep = range(dot, start) if dot < start else range(start + 1, dot + 1)
        for y in {dot, *steep}:
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        before = dot
    margin = max(map(len, y_labels))
    names = {0: y_labels[0], height // 2: y_labels[1]}
    lines = [
        f"{names.get(row, ''):>{margin}} {'┤' if row in names else '│'}{''.join(map(chr, codes))}"
        for row, codes in enumerate(cells)
    ]
    ticks = {round(place * (width - 1)): label for place, label in sorted(x_labels.items())}
    axis = "".join("┴" if x in ticks and x > 0 else "─" for x in range(width))
    return [*lines, f"{y_labels[2]:>{margin}} ┼{axis}", _below(margin + 2, width, ticks)]


def _below(margin: int, width: int, ticks: Mapping[int, str]) -> str:
    """Return a line with each label centred below its tick, but inside the drawing.

    A label without room to the left of the next one is left out.
    """
    line = " " * width
    for tick, label in sorted(ticks.items(), reverse=True):
        start = min(max(tick - len(label) // 2, 0), width - len(label))
        end = start + len(label)
        if not line[start : end + 1].strip():
            line = line[:start] + label + line[end:]
    return " " * margin + line.rstrip()
