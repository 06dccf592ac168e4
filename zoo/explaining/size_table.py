"""The table of sizes: a row per model, cut to the width of the terminal."""

from collections.abc import Sequence

from rich.console import Console

from zoo.explaining.choices import main_choices
from zoo.explaining.model_card import ModelCard
from zoo.explaining.terminal import (
    column_widths,
    columns_that_fit,
    show,
    show_entries,
    three_digits,
)

GPT4 = (
    "GPT-4 has no config: its report (OpenAI 2023, arXiv 2303.08774, section 2) publishes no "
    "architecture, no size and no training method."
)

CONTRASTS = "--family=transformer, --family=bert, --family=t5"

COLUMNS = {
    "model": "",
    "layers": "",
    "d_model": "",
    "heads": "number x width; in brackets the key and value heads, if there are fewer",
    "d_ff": "",
    "context": "tokens",
    "vocab": "",
    "parameters": "",
    "published": "parameters as the paper prints them; -: a size that is in no paper",
    "FLOPs": "training FLOPs per token, 6N + 12LHQT (PaLM, appendix B, in its letters: N "
    "parameters, L layers, H heads of width Q, T tokens); in a banded layer T is the band's width",
    "KV bytes": "what decoding needs to keep per token, averaged over a full context, in bfloat16; "
    "for a banded layer its band only",
    "tok/par": "tokens of the training run per parameter",
}
"""The columns' names, each with its meaning if the name does not say it."""

_IMPORTANCE = {
    "model": 9,
    "parameters": 8,
    "layers": 8,
    "d_model": 7,
    "published": 7,
    "tok/par": 6,
    "KV bytes": 5,
    "FLOPs": 5,
    "heads": 4,
    "vocab": 3,
    "context": 2,
    "d_ff": 1,
}
"""Priority of the columns: a narrow terminal leaves out the lowest first."""

_MANY_SIZES = 12
"""A family with more published sizes than this is folded."""


def row(card: ModelCard) -> list[str]:
    """Return the cells of one model, in the order of COLUMNS."""
    model, attention = card.experiment.model, card.experiment.model.attention
    fewer = attention.num_kv_heads != attention.num_heads
    cache = card.kv_cache_bytes_per_token
    kv_heads = f" ({attention.num_kv_heads})" if fewer else ""
    return [
        card.name,
        f"{model.num_layers}",
        f"{model.d_model:,}",
        f"{attention.num_heads}{kv_heads} x {attention.head_dim}",
        f"{model.feed_forward.d_ff:,}",
        f"{model.context_length:,}",
        f"{model.vocab_size:,}",
        f"{card.num_params:,}",
        card.reported_params or "-",
        f"{card.flops_per_token:.2e}".replace("e+", "e"),
        "-" if cache is None else f"{cache:,.0f}",
        three_digits(card.tokens_per_param),
    ]


def sizes_to_fold(cards: Sequence[ModelCard]) -> list[ModelCard]:
    """Return all published sizes but the largest if the family has very many, else none."""
    published = [card for card in cards if card.reported_params is not None]
    if len(published) <= _MANY_SIZES:
        return []
    return sorted(published, key=lambda card: card.num_params)[:-1]


def show_zoo(zoo: Sequence[Sequence[ModelCard]], console: Console, *, fold: bool) -> None:
    """Print each family's choices and below them a row per size.

    Args:
      zoo: the cards of each family.
      fold: leave out `sizes_to_fold`, with a line that says so.
    """
    rows = [list(COLUMNS), *(row(card) for cards in zoo for card in cards)]
    importance = [_IMPORTANCE[name] for name in COLUMNS]
    widths, shown = column_widths(rows), columns_that_fit(rows, importance, console.width)

    def show_row(cells: Sequence[str], style: str = "") -> None:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[0] = cells[0].ljust(widths[0])
        show(console, " ".join(padded[i] for i in shown), style=style)

    for cards in zoo:
        largest = max(cards, key=lambda card: card.num_params)
        folded = sizes_to_fold(cards) if fold else []
        if cards is not zoo[0]:
            show(console, "")
        show(console, f"{largest.paper.family} ({largest.paper.authors})", style="bold")
        names = [choice.name for choice in main_choices(largest.experiment.model)]
        show(console, "; ".join(names), indent=2, lead="  ")
        show_row(list(COLUMNS), style="dim")
        for card in cards:
            if card not in folded:
                show_row(row(card))
        if folded:
            sizes = f"{len(folded)} sizes from {folded[0].name} to {folded[-1].name}"
            show(console, f"... and {sizes}: --family={largest.family}")
    if len(zoo) > 1:
        show(console, f"\n{GPT4}")
        show(console, f"\nFor contrast, models with an encoder: {CONTRASTS}")
    meanings = [
        (name, meaning if i in shown else f"left out to fit {console.width} columns")
        for i, (name, meaning) in enumerate(COLUMNS.items())
        if meaning or i not in shown
    ]
    show_entries(console, "Columns", meanings)
    show(console, "\nOne model and the source of each value: python -m zoo.describe --model=NAME")
    show(console, "Two models side by side: python -m zoo.diff NAME NAME")
