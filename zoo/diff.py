"""Show two models side by side: `python -m zoo.diff palm_8b llama_7b`."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console

from models.config import Decoder
from models.flops import decoding_intensity, forward_flops_per_token, kv_cache_bytes_per_token
from zoo.command_line import cli
from zoo.explaining.choices import Choice, choices
from zoo.explaining.explanations import AXES, LETTERS
from zoo.explaining.model_card import ModelCard, model_card
from zoo.explaining.size_table import COLUMNS
from zoo.explaining.terminal import (
    column_widths,
    show,
    show_entries,
    stdout_console,
    three_digits,
)

LABELS = {
    "num_params": "parameters",
    "num_layers": "layers",
    "d_model": "d_model",
    "d_ff": "d_ff",
    "num_heads": "query heads",
    "num_kv_heads": "key and value heads",
    "head_dim": "width of a head",
    "context_length": "context",
    "vocab_size": "vocabulary",
    "num_tokens": "tokens of the training run",
    "tokens_per_param": "tokens per parameter",
    "flops_per_token": "training: FLOPs per token",
    "decode_flops_per_token": "decoding: FLOPs per token",
    "kv_cache_bytes_per_token": "decoding: KV cache bytes per token",
    "flops_per_byte_at_batch_1": "decoding: FLOPs per byte, batch 1",
    "flops_per_byte_at_batch_64": "decoding: FLOPs per byte, batch 64",
}
"""Keys of the numbers that are compared, with their names."""

MEANINGS = {
    "training": COLUMNS["FLOPs"],
    "decoding": "in bfloat16, at {length:,} tokens: the FLOPs of the next token, the bytes that "
    "the KV cache needs to keep per token (for a banded layer its band only), and the "
    "arithmetic intensity",
    "FLOPs per byte": "a step reads the weights once for the whole batch, and for each row its own "
    "cache; a chip can do some hundreds of FLOPs in the time in which it reads a byte, and below "
    "that ratio decoding waits for the memory",
}


@dataclass(frozen=True, kw_only=True)
class DiffCommand:
    """The flags of `python -m zoo.diff`."""

    first: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A model of the zoo; `python -m zoo.describe` lists them all."""
    second: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """The model to compare it with."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Print the choices in which the two models differ, and the numbers that follow."""
    command = cli.parse(
        DiffCommand,
        argv,
        prog="python -m zoo.diff",
        description="Show two models side by side: the choices that differ, and the numbers.",
    )
    pair = model_card(command.first), model_card(command.second)
    if command.json:
        print(json.dumps(to_json(*pair)))
    else:
        show_diff(*pair, stdout_console())


def differing_choices(first: ModelCard, second: ModelCard) -> list[tuple[Choice, Choice]]:
    """Return the pairs of choices in which the models differ, in the order of AXES."""
    pairs = zip(choices(first.experiment.model), choices(second.experiment.model), strict=True)
    return [(one, other) for one, other in pairs if one.name != other.name]


def shared_length(first: ModelCard, second: ModelCard) -> int:
    """Return the shorter of the two context lengths, at which decoding is compared."""
    return min(card.experiment.model.context_length for card in (first, second))


def numbers(card: ModelCard, length: int) -> dict[str, float]:
    """Return the numbers of LABELS that the model has: only a decoder has those of decoding.

    They are for a token that sees `length` tokens, itself included, in bfloat16.
    """
    model, card_numbers = card.experiment.model, card.to_json()
    found = {key: card_numbers[key] for key in LABELS if key in card_numbers}
    if not isinstance(model.stack, Decoder):
        return {key: number for key, number in found.items() if number is not None}
    return {
        **found,
        "decode_flops_per_token": forward_flops_per_token(model, length),
        "kv_cache_bytes_per_token": kv_cache_bytes_per_token(model, length),
        "flops_per_byte_at_batch_1": decoding_intensity(model, 1, length),
        "flops_per_byte_at_batch_64": decoding_intensity(model, 64, length),
    }


def to_json(first: ModelCard, second: ModelCard) -> dict[str, Any]:
    """Return the comparison as JSON values. Field names are stable; docs/json.md explains them."""
    length = shared_length(first, second)
    both = [numbers(card, length) for card in (first, second)]
    return {
        "models": [first.name, second.name],
        "choices": {
            pair[0].explanation.axis.rpartition(".")[2]: [
                {"choice": choice.name, **dataclasses.asdict(choice.explanation)} for choice in pair
            ]
            for pair in differing_choices(first, second)
        },
        "decode_length": length,
        "numbers": {key: [values.get(key) for values in both] for key in LABELS},
    }


def show_diff(first: ModelCard, second: ModelCard, console: Console) -> None:
    """Print the choices that differ, the names of those that do not, and the numbers."""
    different = differing_choices(first, second)
    show(console, f"{first.name} and {second.name}", style="bold")
    for one, other in different:
        if one.kind == other.kind:
            names = [(first.name, one.name), (second.name, other.name)]
            entries = [*names, ("", str(one.explanation))]
        else:
            entries = [(first.name, one.full_text), (second.name, other.full_text)]
        show_entries(console, AXES[one.explanation.axis], entries)
    different_axes = {one.explanation.axis for one, _ in different}
    same = [
        choice.name
        for choice in choices(first.experiment.model)
        if choice.explanation.axis not in different_axes
    ]
    shared = [("the same", "; ".join(same))] if same else []
    shared += [("letters", LETTERS)] if different else []
    show_entries(console, "Both", shared)
    length = shared_length(first, second)
    show(console, "\nNumbers", style="bold")
    _show_table(console, _number_rows(first, second, length))
    meanings = {name: text.format(length=length) for name, text in MEANINGS.items()}
    show_entries(console, "What they mean", meanings.items())


def _number_rows(first: ModelCard, second: ModelCard, length: int) -> list[list[str]]:
    one, other = numbers(first, length), numbers(second, length)
    rows = [["", first.name, second.name, "ratio"]]
    for key, label in LABELS.items():
        values = [_format_number(key, each[key]) if key in each else "-" for each in (one, other)]
        ratio = f"{other[key] / one[key]:.3g}" if "-" not in values else "-"
        rows.append([label, *values, ratio])
    return rows


def _show_table(console: Console, rows: Sequence[Sequence[str]]) -> None:
    label_width, *widths = column_widths(rows)
    for label, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        show(console, "  ".join([label.ljust(label_width), *padded]), indent=2)


def _format_number(key: str, value: float) -> str:
    if key.endswith("flops_per_token"):
        return f"{value:.3e}".replace("e+", "e")
    return f"{value:,}" if isinstance(value, int) else three_digits(value)


if __name__ == "__main__":
    cli.run(main)
