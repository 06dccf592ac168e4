"""See the zoo: `python -m zoo.describe`, or one model of it: `--model=palm_8b`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

import configs
from models.config import check
from zoo import cli
from zoo.choices import choices
from zoo.description import GPT4, Description, describe, family_members, in_words
from zoo.drawing import draw
from zoo.explanations import AXES
from zoo.pages import markdown
from zoo.parameters import params_by_part
from zoo.terminal import column_widths, fitting, show, show_entries, stdout_console


@dataclass(frozen=True, kw_only=True)
class DescribeCommand:
    """The flags of `python -m zoo.describe`."""

    model: str | None = None
    """One model: its numbers, its choices, where each value stands in its paper, and what the paper
    does not say."""
    family: str | None = None
    """Only this family, with all its sizes."""
    all: bool = False
    """Show every size: without it a terminal gets only the largest of Chinchilla's 51. A pipe or a
    file always gets all."""
    markdown: bool = False
    """Print docs/families.md: a page per family."""
    json: bool = False
    """Print JSON and nothing else on stdout: one object with --model, else a list of them."""

    def __post_init__(self):
        check(self.family is None or self.family in configs.FAMILIES,
              f"--family={self.family!r} is not in the zoo; write one of "
              f"{', '.join(configs.FAMILIES)}")  # fmt: skip
        given = [f"--{flag}" for flag in ("model", "family", "markdown") if getattr(self, flag)]
        check(len(given) < 2, f"{' and '.join(given)} exclude each other; write one of them")
        check(not (self.markdown and self.json),
              "--markdown and --json exclude each other; write one of them")  # fmt: skip


def main(argv: list[str]) -> None:
    """Print what the flags ask for."""
    command = cli.parse(
        DescribeCommand,
        argv,
        prog="python -m zoo.describe",
        description="Show all models of the zoo, or all there is to say about one.",
    )
    if command.markdown:
        print(markdown(), end="")
    elif command.model is not None:
        described = describe(command.model)
        if command.json:
            print(json.dumps(described.to_json()))
        else:
            show_model(described, stdout_console())
    else:
        families = configs.FAMILIES if command.family is None else [command.family]
        zoo = [family_members(family) for family in families]
        if command.json:
            print(json.dumps([each.to_json() for members in zoo for each in members]))
        else:
            console = stdout_console()
            unfold = command.all or command.family is not None or not console.is_terminal
            show_zoo(zoo, console, unfold=unfold)


# --- the zoo as a table --------------------------------------------------------------------------

COLUMNS = {
    # by how much they are missed where the terminal is narrow
    "model": 9,
    "layers": 8,
    "d_model": 7,
    "heads": 4,
    "d_ff": 1,
    "context": 2,
    "vocab": 3,
    "parameters": 8,
    "published": 7,
    "FLOPs": 5,
    "KV bytes": 5,
    "tok/par": 6,
}
LEGEND = """\
heads          how many x how wide; in brackets those of keys and values, where they are fewer
published      parameters as the paper prints them; - is a size of the zoo's own
FLOPs          of a token in training, 6N + 12LHQT
KV bytes       what decoding keeps of each token of a full context, in bfloat16; where layers are \
banded, what it needs to keep: the zoo's own cache keeps every token
tok/par        tokens of the training run per parameter

One model, with the source of every value: python -m zoo.describe --model=NAME
Two models side by side: python -m zoo.diff NAME NAME
"""


def show_zoo(zoo: Sequence[Sequence[Description]], console: Console, *, unfold: bool) -> None:
    """A row per size, below its family's choices."""
    rows = [list(COLUMNS), *(_row(each) for members in zoo for each in members)]
    shown, widths = fitting(rows, list(COLUMNS.values()), console.width), column_widths(rows)

    def show_row(cells: Sequence[str], style: str = "") -> None:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[0] = cells[0].ljust(widths[0])
        show(console, " ".join(padded[i] for i in shown), style=style)

    for members in zoo:
        largest = max(members, key=lambda each: each.num_params)
        folded = [] if unfold else _folded(members)
        made = choices(largest.experiment.model)
        said = [choice.name for choice in made if not choice.goes_without_saying]
        show(console, f"{largest.paper.title} ({largest.paper.authors})", style="bold")
        show(console, ", ".join(said), indent=2, lead="  ")
        show_row(list(COLUMNS), style="dim")
        for each in members:
            if each not in folded:
                show_row(_row(each))
        if folded:
            show(console, f"... and {len(folded)} sizes from {folded[0].name} to {folded[-1].name}: "
                 f"--family={largest.family}")  # fmt: skip
        show(console, "")
    if len(zoo) > 1:
        show(console, GPT4 + "\n\n")
    left_out = [name for i, name in enumerate(COLUMNS) if i not in shown]
    if left_out:
        show(console, f"left out to fit {console.width} columns: {', '.join(left_out)}", indent=15)
    show(console, LEGEND, indent=15)


def _folded(members: Sequence[Description]) -> list[Description]:
    """Of a family with very many published sizes, all but the largest."""
    published = [each for each in members if each.reported_params is not None]
    return sorted(published, key=lambda each: each.num_params)[:-1] if len(published) > 12 else []


def _row(each: Description) -> list[str]:
    model, attention = each.experiment.model, each.experiment.model.attention
    fewer = attention.num_kv_heads != attention.num_heads
    kv_heads = f" ({attention.num_kv_heads})" if fewer else ""
    return [
        each.name,
        f"{model.num_layers}",
        f"{model.d_model:,}",
        f"{attention.num_heads}{kv_heads} x {attention.head_dim}",
        f"{model.feed_forward.d_ff:,}",
        f"{model.context_length:,}",
        f"{model.vocab_size:,}",
        f"{each.num_params:,}",
        each.reported_params or "-",
        f"{each.flops_per_token:.2e}".replace("e+", "e"),
        f"{each.kv_cache_bytes_per_token:,.0f}",
        _short(each.tokens_per_param),
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


# --- one model -----------------------------------------------------------------------------------


def show_model(each: Description, console: Console) -> None:
    """All there is to say about one model."""
    model, paper = each.experiment.model, each.paper
    show(console, f"{each.name}: {paper.title}", style="bold")
    show(console, f"{paper.authors}, {paper.reference}")
    if each.reported_params is None:
        show(console, f"A size of the zoo's own: {paper.authors}'s choices in a small budget.")
    show_entries(console, "Numbers", _numbers(each))
    show(console, "\nFrom tokens to probabilities", style="bold")
    show(console, "\n".join(f"  {line}" for line in draw(model).splitlines()))
    show_entries(console, "Choices", [
        (AXES[choice.explanation.axis],
         f"{choice.words or choice.name}\n{choice.explanation.effect}\n"
         f"{choice.explanation.equation}   [{choice.explanation.source}]")
        for choice in choices(model)
    ])  # fmt: skip
    show_entries(console, "Where each value stands", _with_values(each, paper.sources))
    show_entries(console, "Why, says the paper", paper.reasons.items())
    show_entries(console, "Not published, and what the zoo has instead",
                 _with_values(each, paper.not_published))  # fmt: skip


def _numbers(each: Description) -> list[tuple[str, str]]:
    model, experiment = each.experiment.model, each.experiment
    parts = [f"{count:,} {part}" for part, count in params_by_part(model).items()]
    published = each.reported_params or "in no paper"
    mismatch = each.paper.mismatches.get(each.name)
    cache = f"{each.kv_cache_bytes_per_token:,.0f} bytes for each token of a full context, bfloat16"
    if each.zoo_kv_cache_bytes_per_token != each.kv_cache_bytes_per_token:
        cache += (
            " (a banded layer needs its band only; the zoo's own cache keeps every token: "
            f"{each.zoo_kv_cache_bytes_per_token:,.0f} bytes)"
        )
    run = f"{experiment.num_tokens:,} tokens, {_short(each.tokens_per_param)} a parameter"
    return [
        ("parameters", f"{each.num_params:,} = {' + '.join(parts)}"),
        ("published as", published + (f": {mismatch}" if mismatch else "")),
        ("context, vocabulary", f"{model.context_length:,} tokens, {model.vocab_size:,} ids"),
        ("training", f"{run}, {each.flops_per_token:.3e} FLOPs a token (6N + 12LHQT)"),
        (
            "decoding",
            f"{each.decode_flops_per_token:.3e} FLOPs for a token that sees a full context",
        ),
        ("KV cache", cache),
    ]


def _with_values(each: Description, notes: dict[str, str]) -> list[tuple[str, str]]:
    """What is noted on each field, below its value in this model."""
    keys = (*each.paper.sources, *each.paper.not_published)
    scaled_down = "scaled down from: "
    return [
        (path, f"{in_words(each.value(path), path, keys)}\n"
         f"{'' if each.is_published(path) else scaled_down}{note}")
        for path, note in notes.items()
    ]  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
