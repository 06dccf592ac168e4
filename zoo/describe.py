"""Show the zoo: `python -m zoo.describe`; or one of its models: `... --model=palm_8b`."""

import json
from dataclasses import dataclass
from typing import Literal

import configs
from models.config import check
from zoo.command_line import cli
from zoo.explaining.family_pages import markdown
from zoo.explaining.model_card import ModelCard, family_cards, model_card, show_model_card
from zoo.explaining.size_table import show_zoo
from zoo.explaining.terminal import stdout_console

_EXCLUSIVE = (
    ("model", "family"),
    ("model", "markdown"),
    ("family", "markdown"),
    ("markdown", "json"),
)
"""Flags of which only one may be given."""


@dataclass(frozen=True, kw_only=True)
class DescribeCommand:
    """The flags of `python -m zoo.describe`."""

    model: str | None = None
    """One model: its numbers, its choices, the source of each value, what its paper leaves open."""
    family: str | None = None
    """One family, or one of the contrasts transformer, bert and t5, with all its sizes."""
    recipe: bool = False
    """With --model: its training run instead, every number with its source, and a drawing of the
    learning rate and the batch over the tokens."""
    sizes: Literal["main", "all"] = "main"
    """main: a terminal shows only the largest of Chinchilla's 51 published sizes. all: every size,
    as in a pipe or a file."""
    markdown: bool = False
    """Print docs/families.md: a page per family."""
    json: bool = False
    """Print JSON and nothing else on stdout: one object with --model, otherwise a list of them."""

    def __post_init__(self):
        families = [*configs.FAMILIES, *configs.CONTRASTS]
        check(
            self.family is None or self.family in families,
            f"--family={self.family!r} is not in the zoo; write one of {', '.join(families)}",
        )
        for one, other in _EXCLUSIVE:
            both = getattr(self, one) and getattr(self, other)
            check(not both, f"--{one} and --{other} exclude each other; write one of them")
        check(
            not self.recipe or self.model is not None,
            "--recipe shows the training run of one model; write for example --model=palm_540b "
            "--recipe",
        )


def main(argv: list[str]) -> None:
    """Print what the flags ask for."""
    command = cli.parse(
        DescribeCommand,
        argv,
        prog="python -m zoo.describe",
        description="Show all models of the zoo, or everything about one of them.",
    )
    if command.markdown:
        print(markdown(), end="")
    elif command.model is not None and command.recipe:
        _print_recipe(model_card(command.model), as_json=command.json)
    elif command.model is not None:
        card = model_card(command.model)
        if command.json:
            print(json.dumps(card.to_json()))
        else:
            show_model_card(card, stdout_console())
    else:
        families = configs.FAMILIES if command.family is None else [command.family]
        zoo = [family_cards(family) for family in families]
        if command.json:
            print(json.dumps([card.to_json() for cards in zoo for card in cards]))
        else:
            console = stdout_console()
            folds = command.sizes == "main" and command.family is None and console.is_terminal
            show_zoo(zoo, console, fold=folds)


def _print_recipe(card: ModelCard, *, as_json: bool) -> None:
    # Imported late: only a learning rate needs JAX.
    import jax

    from zoo.explaining.recipe import Recipe
    from zoo.explaining.recipe_page import show_recipe

    jax.config.update("jax_platforms", "cpu")  # a description uses no device
    recipe = Recipe(card)
    if as_json:
        print(json.dumps(recipe.to_json()))
    else:
        show_recipe(recipe, stdout_console())


if __name__ == "__main__":
    cli.run(main)
