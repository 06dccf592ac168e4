"""A recipe on a terminal: drawings of its course, and its numbers with their sources."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from configs.experiment import Experiment
from zoo.explaining import recipe_words as words
from zoo.explaining.curve_drawing import draw_curve
from zoo.explaining.model_card import format_value, show_mixture
from zoo.explaining.recipe import SECTIONS, Recipe, Setting, groups
from zoo.explaining.terminal import show

HEIGHT = 6
"""Lines of a drawing."""
MAX_WIDTH = 100
"""Columns of a drawing on a wide terminal."""
MARGIN = 12
"""Columns beside a drawing, for the names of its values."""
_STYLES = {"paper": "dim", "zoo": "yellow"}


def show_recipe(recipe: Recipe, console: Console) -> None:
    """Print the whole recipe."""
    card, run, paper = recipe.card, recipe.experiment, recipe.card.paper
    show(console, f"The training run of {card.name}: {paper.title}", style="bold")
    show(console, f"{paper.authors}, {paper.reference}")
    if card.reported_params is None:
        show(console, f"Not a size of the paper: {paper.authors}'s recipe in a small budget.")
    flops = card.flops_per_token * run.num_tokens
    length = f"{run.num_steps:,} steps, {words.short(run.num_tokens)} tokens"
    size = f"{words.short(card.num_params)} parameters"
    compute = f"{flops:.2e} FLOPs (6N + 12LHQT a token)"
    show(console, f"{length}, {size}, {compute}")

    width = max(min(console.width, MAX_WIDTH), 3 * MARGIN) - MARGIN
    course = recipe.course(np.linspace(0, run.num_tokens, 2 * width))
    _show_heading(console, "Learning rate", words.learning_rate(run, course.rates[-1]))
    peak = run.optimizer.schedule.peak_lr
    _show_curve(console, run, course.rates, peak, "{:.3g}".format)
    _show_heading(console, "Batch", words.batches(run))
    if len(run.batch_sizes.phases) > 1:
        _show_curve(console, run, course.batch_tokens, run.batch_tokens, words.short)
    _show_heading(console, "Step of the optimizer", words.LETTERS)
    show(console, words.update(run), indent=4)

    for heading, settings in recipe.settings.items():
        field, *others = SECTIONS[heading]
        prefix = "" if others else f"{field}."
        place = f" (in {field})" if prefix and field != heading.lower() else ""
        show(console, f"\n{heading}{place}", style="bold")
        for group in groups(settings):
            values = ", ".join(_in_words(setting, prefix) for setting in group)
            show(console, values, indent=2)
            show(console, _note(group[0]), indent=4, style=_STYLES[group[0].origin])
    show_mixture(paper, console)


def _show_heading(console: Console, heading: str, text: str) -> None:
    show(console, f"\n{heading}", style="bold")
    show(console, text, indent=2)


def _show_curve(
    console: Console, run: Experiment, values: np.ndarray, top: float, name: Callable[[float], str]
) -> None:
    """Print a drawing of `values` over the tokens of the run; `name` names a value."""
    end = run.num_tokens
    ticks = [tokens for tokens in words.round_numbers(end) if tokens < 0.85 * end]
    lines = draw_curve(
        values.tolist(),
        top=top,
        height=HEIGHT,
        y_labels=[label.rjust(MARGIN - 4) for label in (name(top), name(top / 2), "0")],
        x_labels={tokens / end: words.short(tokens) for tokens in ticks}
        | {1: f"{words.short(end)} tokens"},
    )
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _in_words(setting: Setting, prefix: str) -> str:
    """Return the name and the value; a type stands for itself."""
    if f"{setting.path}." == prefix:
        return _value(setting)
    return f"{setting.path.removeprefix(prefix)} {_value(setting)}"


def _value(setting: Setting) -> str:
    def one(value: Any) -> str:
        if "tokens" in setting.path and isinstance(value, float):
            return words.short(value)
        return "none" if value is None else format_value(value)

    if isinstance(setting.value, list):
        return " ".join(map(one, setting.value))
    return one(setting.value)


def _note(setting: Setting) -> str:
    scope = "" if setting.in_published_sizes else "in the published sizes: "
    chosen = "not published; the zoo's choice: " if setting.origin == "zoo" else ""
    return f"{chosen}{scope}{setting.note}"
