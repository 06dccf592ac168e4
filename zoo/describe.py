"""See the zoo: `python -m zoo.describe`, or one model of it: `--model=palm_8b`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

import configs
from models.config import Relative, check
from models.parameters import params_by_part
from zoo import cli
from zoo.explaining.choices import choices, explain
from zoo.explaining.description import (
    COLUMNS,
    GPT4,
    Description,
    describe,
    family_members,
    folded,
    in_words,
    row,
    short,
)
from zoo.explaining.drawing import draw
from zoo.explaining.explanations import AXES, LETTERS
from zoo.explaining.pages import markdown
from zoo.explaining.terminal import column_widths, fitting, show, show_entries, stdout_console


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

MISSED = {"model": 9, "parameters": 8, "layers": 8, "d_model": 7, "published": 7, "tok/par": 6,
          "KV bytes": 5, "FLOPs": 5, "heads": 4, "vocab": 3, "context": 2, "d_ff": 1}  # fmt: skip
"""How much each column is missed where the terminal is too narrow for all."""


def show_zoo(zoo: Sequence[Sequence[Description]], console: Console, *, unfold: bool) -> None:
    """A row per size, below its family's choices."""
    rows = [list(COLUMNS), *(row(each) for members in zoo for each in members)]
    importance = [MISSED[name] for name in COLUMNS]
    shown, widths = fitting(rows, importance, console.width), column_widths(rows)

    def show_row(cells: Sequence[str], style: str = "") -> None:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[0] = cells[0].ljust(widths[0])
        show(console, " ".join(padded[i] for i in shown), style=style)

    for members in zoo:
        largest = max(members, key=lambda each: each.num_params)
        away = [] if unfold else folded(members)
        made = choices(largest.experiment.model)
        said = [choice.name for choice in made if not choice.goes_without_saying]
        if members is not zoo[0]:
            show(console, "")
        show(console, f"{largest.paper.family} ({largest.paper.authors})", style="bold")
        show(console, "; ".join(said), indent=2, lead="  ")
        show_row(list(COLUMNS), style="dim")
        for each in members:
            if each not in away:
                show_row(row(each))
        if away:
            show(console, f"... and {len(away)} sizes from {away[0].name} to {away[-1].name}: "
                 f"--family={largest.family}")  # fmt: skip
    if len(zoo) > 1:
        show(console, f"\n{GPT4}")
    show_entries(console, "Columns", [
        (name, meaning if i in shown else f"left out to fit {console.width} columns")
        for i, (name, meaning) in enumerate(COLUMNS.items()) if meaning or i not in shown
    ])  # fmt: skip
    show(console, "\nOne model and where its values stand: python -m zoo.describe --model=NAME")
    show(console, "Two models side by side: python -m zoo.diff NAME NAME")


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
    explained = [(AXES[choice.explanation.axis], explain(choice)) for choice in choices(model)]
    show_entries(console, "Choices", [*explained, ("Letters", LETTERS)])
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
    if isinstance(model.position, Relative):
        cache += "; and once for all rows of a batch, the projected distances of every layer"
    run = f"{experiment.num_tokens:,} tokens, {short(each.tokens_per_param)} a parameter"
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

    def with_value(path: str, note: str) -> str:
        scope = "" if each.is_published(path) else "in the published sizes: "
        return f"{in_words(each.value(path), path, keys)}\n{scope}{note}"

    return [(path, with_value(path, note)) for path, note in notes.items()]


if __name__ == "__main__":
    cli.run(main)
