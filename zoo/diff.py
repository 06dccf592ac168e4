"""Two models side by side: `python -m zoo.diff palm_8b llama_7b`."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console

from models.flops import decoding_intensity, forward_flops_per_token, kv_cache_bytes_per_token
from zoo import cli
from zoo.explaining.choices import Choice, choices, explain
from zoo.explaining.description import COLUMNS, Description, describe, short
from zoo.explaining.explanations import AXES, LETTERS
from zoo.explaining.terminal import column_widths, show, show_entries, stdout_console

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
    "tokens_per_param": "tokens a parameter",
    "flops_per_token": "training: FLOPs a token",
    "decode_flops_per_token": "decoding: FLOPs a token",
    "kv_cache_bytes_per_token": "decoding: KV cache bytes a token",
    "flops_per_byte_at_batch_1": "decoding: FLOPs a byte, batch 1",
    "flops_per_byte_at_batch_64": "decoding: FLOPs a byte, batch 64",
}
"""The numbers that two models are compared by, in words."""
MEANINGS = {
    "training": COLUMNS["FLOPs"],
    "decoding": "in bfloat16, at {length:,} tokens: what the next one takes, what the KV cache needs to "
    "keep of each (of a banded layer only its band; the zoo's own cache keeps every token), and the "
    "arithmetic intensity",
    "FLOPs a byte": "a step reads the weights once for the whole batch and each row's own cache; a chip "
    "can do some hundreds of FLOPs in the time that it reads a byte, and below that decoding waits "
    "for the memory",
}


@dataclass(frozen=True, kw_only=True)
class DiffCommand:
    """The flags of `python -m zoo.diff`."""

    first: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A model of the zoo; `python -m zoo.describe` lists all."""
    second: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Another."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Print what sets the two models apart, and what follows from it."""
    command = cli.parse(
        DiffCommand,
        argv,
        prog="python -m zoo.diff",
        description="Show two models side by side: the choices that differ, and the numbers.",
    )
    pair = describe(command.first), describe(command.second)
    if command.json:
        print(json.dumps(to_json(*pair)))
    else:
        show_diff(*pair, stdout_console())


def differing(first: Description, second: Description) -> list[tuple[Choice, Choice]]:
    """The choices that the two made differently, in the order of AXES."""
    both = zip(choices(first.experiment.model), choices(second.experiment.model), strict=True)
    return [(one, other) for one, other in both if one.name != other.name]


def shared_length(first: Description, second: Description) -> int:
    """The longest context that both have: they are compared where both can decode."""
    return min(each.experiment.model.context_length for each in (first, second))


def numbers(each: Description, length: int) -> dict[str, float]:
    """What follows from the choices; decoding is that of a token which sees `length` tokens, itself
    included, in bfloat16."""
    model, described = each.experiment.model, each.to_json()
    return {
        **{key: described[key] for key in LABELS if key in described},
        "decode_flops_per_token": forward_flops_per_token(model, length),
        "kv_cache_bytes_per_token": kv_cache_bytes_per_token(model, length),
        "flops_per_byte_at_batch_1": decoding_intensity(model, 1, length),
        "flops_per_byte_at_batch_64": decoding_intensity(model, 64, length),
    }


def to_json(first: Description, second: Description) -> dict[str, Any]:
    """Field names are stable; docs/json.md says what they mean."""
    pair, length = (first, second), shared_length(first, second)
    one_by_one = [numbers(each, length) for each in pair]
    explained = {
        one.explanation.axis.rpartition(".")[2]: [
            {"choice": choice.name, **dataclasses.asdict(choice.explanation)}
            for choice in (one, other)
        ]
        for one, other in differing(first, second)
    }
    return {
        "models": [each.name for each in pair],
        "choices": explained,
        "decode_length": length,
        "numbers": {key: [each[key] for each in one_by_one] for key in LABELS},
    }


def show_diff(first: Description, second: Description, console: Console) -> None:
    """The choices that differ, those that do not, and the numbers."""
    different = differing(first, second)
    show(console, f"{first.name} and {second.name}", style="bold")
    for one, other in different:
        if one.kind == other.kind:
            names = [(first.name, one.name), (second.name, other.name)]
            entries = [*names, ("", str(one.explanation))]
        else:
            entries = [(first.name, explain(one)), (second.name, explain(other))]
        show_entries(console, AXES[one.explanation.axis], entries)
    axes = {one.explanation.axis for one, _ in different}
    same = [each.name for each in choices(first.experiment.model)
            if each.explanation.axis not in axes]  # fmt: skip
    show_entries(console, "Both", [
        *([("the same", "; ".join(same))] if same else []),
        *([("letters", LETTERS)] if different else []),
    ])  # fmt: skip
    length = shared_length(first, second)
    show(console, "\nNumbers", style="bold")
    one, other = numbers(first, length), numbers(second, length)
    rows = [["", first.name, second.name, "ratio"]]
    rows += [[label, _digits(key, one), _digits(key, other), f"{other[key] / one[key]:.3g}"]
             for key, label in LABELS.items()]  # fmt: skip
    label, *widths = column_widths(rows)
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        show(console, "  ".join([name.ljust(label), *padded]), indent=2)
    meanings = {name: text.format(length=length) for name, text in MEANINGS.items()}
    show_entries(console, "What they mean", meanings.items())


def _digits(key: str, of: dict[str, float]) -> str:
    if key.endswith("flops_per_token"):
        return f"{of[key]:.3e}".replace("e+", "e")
    return f"{of[key]:,}" if isinstance(of[key], int) else short(of[key])


if __name__ == "__main__":
    cli.run(main)
