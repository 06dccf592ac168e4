"""A model drawn as SVG, from the tokens to the logits, with one of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import assert_never

from models.config import (
    Bucketed,
    Encoder,
    EncoderDecoder,
    Learned,
    ModelConfig,
    Relative,
    Rotary,
    Sinusoidal,
)
from zoo.explaining.choices import choices

_STREAM = 40
"""The place of the residual stream; branches are to its right."""
_BOX_WIDTH, _BOX_HEIGHT, _GAP = 250, 46, 18
_COLUMNS = (80, 352)
"""The left edges of the boxes of a branch, and of a branch beside it."""
_ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
)


@dataclass(frozen=True)
class _Box:
    """A step of the computation, with its sizes in a second line."""

    title: str
    detail: str = ""


@dataclass
class _Drawing:
    """The elements so far, from the top to `y`."""

    width: float
    y: float = _GAP
    parts: list[str] = field(default_factory=list)

    def label(self, text: str) -> None:
        """Name what the stream carries here."""
        self.parts.append(_text(_STREAM - 8, self.y + 5, text, "start", "title"))
        self.y += 16

    def box(self, box: _Box, left: float = _STREAM - 26) -> None:
        """Draw a box over the stream, or at another left edge, and go below it."""
        self.parts.append(
            f'<rect x="{left:g}" y="{self.y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" '
            'fill="#7f9fbf" fill-opacity="0.18" stroke="currentColor" stroke-opacity="0.6"/>'
        )
        middle = left + _BOX_WIDTH / 2
        title_y = self.y + (19 if box.detail else 28)
        self.parts.append(_text(middle, title_y, box.title, "middle", "title"))
        if box.detail:
            self.parts.append(_text(middle, self.y + 36, box.detail, "middle", "detail"))
        self.y += _BOX_HEIGHT

    def stream(self, length: float = _GAP) -> None:
        """Draw the residual stream downwards."""
        self.line(_STREAM, self.y, _STREAM, self.y + length)
        self.y += length

    def line(self, *points: float, arrow: bool = False) -> None:
        """Draw a line through points x, y, x, y, ..."""
        pairs = " ".join(f"{x:g},{y:g}" for x, y in zip(points[::2], points[1::2], strict=True))
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append(
            f'<polyline points="{pairs}" fill="none" stroke="currentColor" '
            f'stroke-width="1.6"{end}/>'
        )

    def branches(self, columns: Sequence[Sequence[_Box]], shared: Sequence[_Box] = ()) -> None:
        """Draw branches that leave the stream here, and add up to it below.

        Args:
          columns: the boxes of each branch, from the first to the last.
          shared: boxes before the branches part.
        """
        top = self.y
        lefts = _COLUMNS[: len(columns)]
        middles = [left + _BOX_WIDTH / 2 for left in lefts]
        self.y += _GAP
        self.line(_STREAM, top, middles[0], top, middles[0], self.y, arrow=True)
        for box in shared:
            self.box(box, lefts[0])
            self.line(middles[0], self.y, middles[0], self.y + _GAP, arrow=True)
            for middle in middles[1:]:
                parts_at, below = self.y + 6, self.y + _GAP
                self.line(middles[0], parts_at, middle, parts_at, middle, below, arrow=True)
            self.y += _GAP
        start = self.y
        ends = []
        for left, middle, boxes in zip(lefts, middles, columns, strict=True):
            self.y = start
            for number, box in enumerate(boxes):
                if number:
                    self.line(middle, self.y, middle, self.y + _GAP, arrow=True)
                    self.y += _GAP
                self.box(box, left)
            ends.append(self.y)
        self.y = max(ends)
        self.y += _GAP
        self.line(middles[-1], ends[-1], middles[-1], self.y, _STREAM + 11, self.y, arrow=True)
        for middle, end in zip(middles[:-1], ends, strict=False):
            self.line(middle, end, middle, self.y)
        self.line(_STREAM, top, _STREAM, self.y - 10)
        self.parts.append(
            f'<circle cx="{_STREAM}" cy="{self.y:g}" r="10" fill="none" stroke="currentColor" '
            'stroke-width="1.6"/>'
        )
        self.line(_STREAM - 5, self.y, _STREAM + 5, self.y)
        self.line(_STREAM, self.y - 5, _STREAM, self.y + 5)
        self.y += 10

    def frame(self, top: float, text: str) -> None:
        """Draw a dashed frame from `top` to here, with a name."""
        width, height = self.width - 12, self.y - top
        self.parts.append(
            f'<rect x="6" y="{top:g}" width="{width:g}" height="{height:g}" rx="10" '
            'fill="none" stroke="currentColor" stroke-dasharray="6 4" stroke-opacity="0.6"/>'
        )
        self.parts.append(_text(self.width - 16, top + 22, text, "end", "title"))


def block_svg(model: ModelConfig) -> str:
    """Return the drawing as an SVG element in the color of the text around it."""
    by_axis = {choice.explanation.axis: choice for choice in choices(model)}
    norm = _Box(by_axis["model.norm"].kind)
    attention = _Box(by_axis["model.attention"].kind.capitalize(), _inside_attention(model))
    activation = by_axis["model.feed_forward"].kind
    feed_forward = _Box("Feed-forward", f"{activation}, width {model.feed_forward.d_ff:,}")
    reads_encoder = isinstance(model.stack, EncoderDecoder)
    cross = [_Box("Attention to the encoder", "not in its own layers")] if reads_encoder else []
    added = isinstance(model.position, Learned | Sinusoidal)
    at_input = f" + {by_axis['model.position'].kind}" if added else ""

    drawing = _Drawing(width=(620 if model.layout == "parallel" else 350))
    drawing.label("tokens")
    table = f"{model.vocab_size:,} x {model.d_model:,}"
    drawing.box(_Box(f"Embedding{at_input}", table))
    drawing.stream()
    top = drawing.y
    drawing.stream()
    match model.layout:
        case "post_norm":
            for step in (attention, *cross, feed_forward):
                drawing.branches([[step]])
                drawing.stream(8)
                drawing.box(norm)
                drawing.stream(8)
        case "pre_norm":
            for step in (attention, *cross, feed_forward):
                drawing.branches([[norm, step]])
                drawing.stream()
        case "parallel":
            drawing.branches([[attention], [feed_forward]], shared=[norm])
            drawing.stream()
        case _:
            assert_never(model.layout)
    drawing.frame(top, f"{model.num_layers} layers")
    drawing.stream()
    if model.layout != "post_norm":
        drawing.box(norm)
        drawing.stream(8)
    if isinstance(model.stack, Encoder):
        drawing.box(_Box("Masked-token head", "a matrix, GELU and a norm"))
        drawing.stream(8)
    tied = "tied to the embedding" if model.tie_embeddings else "separate"
    drawing.box(_Box("Output matrix", tied))
    drawing.stream(8)
    drawing.y += 10
    drawing.label("logits")
    name = f"A layer of the model: {by_axis['model.layout'].kind}"
    return (
        f'<svg role="img" aria-label="{name}" viewBox="0 0 {drawing.width:g} {drawing.y:g}" '
        f'style="max-width: {drawing.width:g}px" font-family="sans-serif">{_ARROW}'
        f"{''.join(drawing.parts)}</svg>"
    )


def block_picture(model: ModelConfig) -> str:
    """Return the drawing as a file of its own, dark on white."""
    drawn = block_svg(model)
    return drawn.replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#1b2028" ', 1
    ).replace(_ARROW, f'<rect width="100%" height="100%" fill="#fff"/>{_ARROW}', 1)


def _inside_attention(model: ModelConfig) -> str:
    """Return the heads, and the positions and bands that act on the scores."""
    a = model.attention
    notes = [f"{a.num_heads} heads of {a.head_dim}"]
    if 1 < a.num_kv_heads < a.num_heads:
        notes.append(f"{a.num_kv_heads} of keys and values")
    match model.position:
        case Learned() | Sinusoidal():
            pass  # added to the embedding
        case Bucketed():
            notes.append("buckets of distances")
        case Rotary():
            notes.append("rotary positions")
        case Relative():
            notes.append("relative positions")
        case _:
            assert_never(model.position)
    bands = sorted({window for window in a.windows if window is not None})
    if bands:
        spans = ["dense"] * (None in a.windows) + [f"a band of {band}" for band in bands]
        notes.append(" or ".join(spans))
    return ", ".join(notes)


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    size = {"title": 15, "detail": 12}[kind]
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor">{escape(text)}</text>'
    )
