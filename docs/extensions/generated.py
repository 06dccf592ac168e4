"""Pages that are made from the code: the models, the commands with their flags, the Python API."""

from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

import configs
from zoo.__main__ import COMMANDS, summary
from zoo.command_line.completion import help_text, subcommands
from zoo.explaining import family_pages
from zoo.explaining.block_drawing import block_svg
from zoo.explaining.recipe import Recipe
from zoo.reporting.plots import Line, Panel, picture

FOLDER = "_generated"

API = {
    "Use a model": (
        "zoo.planning.placement",
        "zoo.inference.loading",
        "zoo.inference.language_model",
        "zoo.inference.generation",
        "zoo.inference.speculative",
        "zoo.inference.scores",
        "zoo.inference.decode",
        "zoo.ngram.model",
        "zoo.contrasts.loading",
        "zoo.contrasts.masked_text",
        "zoo.contrasts.text_to_text",
        "zoo.contrasts.evaluation",
    ),
    "Train": ("zoo.train", "zoo.runs.loop", "zoo.runs.budget", "configs.experiment"),
    "Configs": (
        "configs",
        "configs.parts.optimizers",
        "configs.parts.objectives",
        "configs.parts.batch_ramps",
        "configs.paper",
        "configs.scaled",
    ),
    "Compare": (
        "configs.studies.study",
        "zoo.ablation.choices",
        "zoo.ablation.designs",
        "zoo.ablation.statistics",
        "zoo.ablation.findings",
        "zoo.lessons.catalog",
        "zoo.lessons.shown",
        "zoo.lessons.heads",
        "zoo.lessons.attention",
        "zoo.lessons.feed_forward",
        "zoo.lessons.vocabularies",
        "zoo.lessons.length",
        "zoo.explaining.attention_weights",
    ),
    "The transformer": (
        "models.config",
        "models.execution",
        "models.model",
        "models.transformer",
        "models.encoders.stacks",
        "models.encoders.encoder",
        "models.encoders.encoder_decoder",
        "models.block",
        "models.attention.layer",
        "models.attention.kernels",
        "models.attention.choice",
        "models.attention.blocks",
        "models.attention.ring",
        "models.attention.past",
        "models.attention.dense",
        "models.attention.cross",
        "models.attention.splash",
        "models.attention.cudnn",
        "models.feed_forward",
        "models.norms",
        "models.positions",
        "models.attention.cache",
        "models.linear",
        "models.int8",
        "models.stages",
        "models.axes",
        "models.flops",
        "models.parameters",
    ),
    "The training step": (
        "zoo.training.step",
        "zoo.training.loss",
        "zoo.training.optimizer",
        "zoo.training.schedule",
        "zoo.training.rounding",
        "zoo.training.divergence",
        "zoo.runs.divergence",
        "zoo.distribution.sharding",
    ),
    "Text": (
        "data.config",
        "data.training_data",
        "data.batches.batch",
        "data.batches.packing",
        "data.vocabularies.vocabulary",
        "data.vocabularies.styles",
        "data.vocabularies.byte_pairs",
        "data.vocabularies.lossless",
        "data.text.ngram",
    ),
}
"""The modules whose docstrings make the reference, by what they are for."""


def write_pages(app: Sphinx) -> None:
    """Write all pages; a page that has not changed keeps its time, and is not built again."""
    root = Path(app.srcdir)
    for name, content in pages(root).items():
        path = root / FOLDER / name
        new = content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(new)


def pages(root: Path) -> dict[str, str | bytes]:
    """Return the content of every file by its path."""
    made: dict[str, str | bytes] = {"choices.md": _lines(_choices())}
    plans = (root / "plans.md").read_text(encoding="utf-8").splitlines()
    for family in configs.FAMILIES:
        made[f"models/{family}.md"] = _lines(_family(family, plans))
        made[f"models/{family}_recipe.svg"] = _recipe_picture(family)
    for modules in COMMANDS.values():
        for module in modules:
            made[f"commands/{module}.md"] = _lines(_command(module))
    made["commands/index.md"] = _lines(_commands())
    for modules in API.values():
        for module in modules:
            made[f"api/{module}.md"] = _lines(_module(module))
    made["api/index.md"] = _lines(_api())
    return made


def _lines(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


# --- the models ----------------------------------------------------------------------------------


def _family(family: str, plans: list[str]) -> Iterator[str]:
    paper, largest = configs.FAMILIES[family].PAPER, family_pages.largest(family)
    yield from [f"# {paper.family}", ""]
    svg = block_svg(largest.experiment.model)
    yield from family_pages.page(
        family, ['<div class="drawing">', svg, "</div>"], choices_page="../choices.md"
    )
    yield from ["", "## The recipe", ""]
    yield f"Learning rate and batch of `{largest.name}` over its run. All settings, with sources:"
    yield from ["", "```", f"python -m zoo.describe --model={largest.name} --recipe", "```", ""]
    yield f"![learning rate and batch over tokens]({family}_recipe.svg)"
    header = plans.index(next(row for row in plans if row.startswith("| model")))
    rows = [row for row in plans if row.startswith(f"| {family}_")]
    yield from ["", "## Planned on hardware", ""]
    yield "The train step, compiled for hardware that was not present; [all plans](../../plans.md)."
    yield from ["", *plans[header : header + 2], *rows]
    small = f"{family}_small"
    yield from ["", "## On a laptop", ""]
    yield f"`{small}` makes the same choices in minutes; [what to expect](../../small_models.md)."
    yield from ["", "```", f"python -m zoo.train --model={small}", "```"]


def _recipe_picture(family: str) -> bytes:
    course = Recipe(family_pages.largest(family)).samples
    tokens = course.tokens.astype(float)
    curves = {"learning rate": course.rates, "tokens in a batch": course.batch_tokens.astype(float)}
    panels = [
        Panel(name, "tokens", name, [Line(name, tokens, curve, style=number)], shows="usual")
        for number, (name, curve) in enumerate(curves.items())
    ]
    return picture(panels, kind="svg")


def _choices() -> Iterator[str]:
    yield from ["# The choices", "", *family_pages.explanations(level=2)]


# --- the commands --------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield from ["# Commands", ""]
    for group, modules in COMMANDS.items():
        yield from [f"## {group}", "", "```{toctree}", ":hidden:", "", *modules, "```", ""]
        yield from (
            f"- [`python -m {module}`]({module}.md): {summary(module)}" for module in modules
        )
        yield ""


def _command(module: str) -> Iterator[str]:
    yield from [f"# {module}", "", f"{summary(module)}.", ""]
    yield "The [exit codes](../../exit_codes.md) are those of all commands."
    shown = help_text(module)
    yield from ["", "```text", shown.rstrip(), "```"]
    for name in subcommands(shown):
        of_name = help_text(module, name)
        yield from ["", f"## {module} {name}", "", "```text", of_name.rstrip(), "```"]


# --- the Python API ------------------------------------------------------------------------------


def _api() -> Iterator[str]:
    yield from ["# Python API", "", "Made from the docstrings; each name links to its source.", ""]
    for group, modules in API.items():
        yield from [f"## {group}", "", "```{toctree}", ":maxdepth: 1", "", *modules, "```", ""]


def _module(module: str) -> Iterator[str]:
    yield from [f"# {module}", "", "```{eval-rst}", f".. automodule:: {module}", "```"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
