"""All that the zoo knows about one model: its numbers, its choices, and what its paper says."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from rich.console import Console

import configs
from configs.experiment import Experiment
from configs.paper import Paper
from models.config import Decoder, Relative
from models.flops import forward_flops_per_token, kv_cache_bytes_per_token
from models.parameters import params_by_part
from zoo.common.html import Html, element, table
from zoo.explaining.block_drawing import block_svg
from zoo.explaining.choices import choices
from zoo.explaining.explanations import AXES, LETTERS
from zoo.explaining.model_drawing import draw
from zoo.explaining.terminal import column_widths, show, show_entries, three_digits


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One model of the zoo, with the numbers that follow from its config."""

    name: str
    family: str
    experiment: Experiment
    reported_params: str | None
    """The parameter count as the paper prints it; None for a size that is in no paper."""

    @property
    def paper(self) -> Paper:
        """The paper of the model's family, with the notes on this model."""
        return configs.module_of(self.family).PAPER.of_model(self.name)

    @property
    def num_params(self) -> int:
        """Exact number of parameters."""
        return sum(params_by_part(self.experiment.model).values())

    @property
    def flops_per_token(self) -> float:
        """Training FLOPs per token by PaLM's convention, at the training sequences' length."""
        return self.experiment.train_flops_per_token

    @property
    def decode_flops_per_token(self) -> int | None:
        """FLOPs to decode one token that sees a whole context; None unless it is a decoder."""
        model = self.experiment.model
        if not isinstance(model.stack, Decoder):
            return None
        return forward_flops_per_token(model, model.context_length)

    @property
    def kv_cache_bytes_per_token(self) -> float | None:
        """Bytes that decoding must keep per token of a whole context, in bfloat16.

        A banded layer keeps its band only. None unless the model is a decoder.
        """
        model = self.experiment.model
        if not isinstance(model.stack, Decoder):
            return None
        return kv_cache_bytes_per_token(model, model.context_length)

    @property
    def tokens_per_param(self) -> float:
        """Tokens of the training run per parameter."""
        return self.experiment.num_tokens / self.num_params

    def value(self, path: str) -> Any:
        """Return the experiment's value at a dotted path, or None if it has no such field."""
        return _value_at(self.experiment, path)

    def is_published(self, path: str) -> bool:
        """Return whether any size in the paper has the same value as this model at the path."""
        published = configs.module_of(self.family).PUBLISHED.values()
        return any(_value_at(experiment, path) == self.value(path) for experiment in published)

    def _repr_html_(self) -> str:
        """Return the drawing of the model beside its numbers and its choices, for a notebook."""
        model, paper = self.experiment.model, self.paper
        chosen = [(AXES[each.explanation.axis], each.name) for each in choices(model)]
        facts = [
            element("h3", f"{self.name}: {paper.title}"),
            element("p", f"{paper.authors}, {paper.reference}"),
            table((), [*_numbers(self), *chosen]),
        ]
        sides = [
            element("div", Html(block_svg(model)), style="flex: 1 1 260px; max-width: 620px"),
            element("div", *facts, style="flex: 2 1 400px"),
        ]
        return element("div", *sides, style="display: flex; flex-wrap: wrap; gap: 24px").text

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON values. Field names are stable; docs/json.md explains them."""
        experiment, model, paper = self.experiment, self.experiment.model, self.paper
        return {
            "model": self.name,
            "family": self.family,
            "paper": f"{paper.title}, {paper.authors}, {paper.reference}",
            "num_params": self.num_params,
            "params_by_part": params_by_part(model),
            "reported_params": self.reported_params,
            "mismatch": paper.mismatches.get(self.name),
            "choices": {
                choice.explanation.axis.rpartition(".")[2]: choice.name for choice in choices(model)
            },
            "num_layers": model.num_layers,
            "d_model": model.d_model,
            "num_heads": model.attention.num_heads,
            "num_kv_heads": model.attention.num_kv_heads,
            "head_dim": model.attention.head_dim,
            "windows": model.attention.windows,
            "d_ff": model.feed_forward.d_ff,
            "context_length": model.context_length,
            "vocab_size": model.vocab_size,
            "flops_per_token": self.flops_per_token,
            "decode_flops_per_token": self.decode_flops_per_token,
            "kv_cache_bytes_per_token": self.kv_cache_bytes_per_token,
            "num_tokens": experiment.num_tokens,
            "tokens_per_param": self.tokens_per_param,
            "sources": paper.sources,
            "reasons": paper.reasons,
            "not_published": paper.not_published,
            "mixture": [asdict(source) for source in paper.mixture],
            "mixture_source": paper.mixture_source,
        }


def model_card(name: str) -> ModelCard:
    """Return the card of the model called `name`. Raises ConfigError for an unknown name."""
    family = configs.family_of(name)
    return ModelCard(
        name=name,
        family=family,
        experiment=configs.get(name),
        reported_params=configs.module_of(family).REPORTED_PARAMS.get(name),
    )


def family_cards(family: str) -> list[ModelCard]:
    """Return the cards of all sizes of a family, smallest first as in its config."""
    return [model_card(name) for name in configs.module_of(family).FAMILY]


MIXTURE_COLUMNS = ("source", "%", "epochs", "public stand-in")


def mixture_rows(paper: Paper) -> list[tuple[str, ...]]:
    """Return the sources of the paper's training text under MIXTURE_COLUMNS."""
    return [
        (
            source.name,
            f"{source.percent:g}",
            "" if source.epochs is None else f"{source.epochs:g}",
            source.stand_in or "none",
        )
        for source in paper.mixture
    ]


# --- the card on a terminal ----------------------------------------------------------------------


def show_model_card(card: ModelCard, console: Console) -> None:
    """Print the whole card."""
    model, paper = card.experiment.model, card.paper
    show(console, f"{card.name}: {paper.title}", style="bold")
    show(console, f"{paper.authors}, {paper.reference}")
    if card.reported_params is None:
        show(console, f"Not a size of the paper: {paper.authors}'s choices in a small budget.")
    show_entries(console, "Numbers", _numbers(card))
    show(console, "\nFrom tokens to probabilities", style="bold")
    show(console, "\n".join(f"  {line}" for line in draw(model).splitlines()))
    explained = [(AXES[choice.explanation.axis], choice.full_text) for choice in choices(model)]
    show_entries(console, "Choices", [*explained, ("Letters", LETTERS)])
    show_mixture(paper, console)
    show_entries(console, "Source of each value", _with_values(card, paper.sources))
    show_entries(console, "The paper's reasons", paper.reasons.items())
    show_entries(
        console,
        "Not published, and what the zoo has instead",
        _with_values(card, paper.not_published),
    )


def show_mixture(paper: Paper, console: Console) -> None:
    """Print the sources of the paper's training text."""
    show(console, "\nTraining text of the paper", style="bold")
    show(console, f"{paper.mixture_source}; --data.mixture=paper", indent=2, lead="  ")
    rows = [MIXTURE_COLUMNS, *mixture_rows(paper)]
    widths = column_widths(rows)
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print(f"  {cells}".rstrip(), markup=False, soft_wrap=True)


def _numbers(card: ModelCard) -> Iterator[tuple[str, str]]:
    model, experiment = card.experiment.model, card.experiment
    parts = [f"{count:,} {part}" for part, count in params_by_part(model).items()]
    yield "parameters", f"{card.num_params:,} = {' + '.join(parts)}"
    published = card.reported_params or "not in a paper"
    mismatch = card.paper.mismatches.get(card.name)
    yield "published as", published + (f": {mismatch}" if mismatch else "")
    ids = f"{model.context_length:,} tokens, {model.vocab_size:,} token ids"
    yield "context, vocabulary", ids
    tokens = (
        f"{experiment.num_tokens:,} tokens, {three_digits(card.tokens_per_param)} per parameter"
    )
    yield "training", f"{tokens}, {card.flops_per_token:.3e} FLOPs per token"
    yield (
        "",
        "(6N + 12LHQT in PaLM's letters: N parameters, L layers, H heads of width Q, T tokens)",
    )
    if (flops := card.decode_flops_per_token) is not None:
        yield "decoding", f"{flops:.3e} FLOPs for a token that sees a full context"
    if (cache := card.kv_cache_bytes_per_token) is not None:
        yield "KV cache", _cache_size(card, cache)


def _cache_size(card: ModelCard, cache: float) -> str:
    size = f"{cache:,.0f} bytes per token of a full context, bfloat16"
    if any(window is not None for window in card.experiment.model.attention.windows):
        size += " (a banded layer keeps its band only)"
    if isinstance(card.experiment.model.position, Relative):
        size += "; and, once for all rows of a batch, the projected distances of every layer"
    return size


def _with_values(card: ModelCard, notes: dict[str, str]) -> list[tuple[str, str]]:
    """Return each note below this model's value at the note's path."""
    paths = (*card.paper.sources, *card.paper.not_published)

    def with_value(path: str, note: str) -> str:
        scope = "" if card.is_published(path) else "in the published sizes: "
        return f"{format_value(card.value(path), path, paths)}\n{scope}{note}"

    return [(path, with_value(path, note)) for path, note in notes.items()]


def format_value(value: Any, path: str = "", listed_elsewhere: tuple[str, ...] = ()) -> str:
    """Return a config's value in words, a dataclass as its name and its fields.

    Fields whose paths are in `listed_elsewhere` are left out.
    """
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if not is_dataclass(value):
        return "none" if value == () else str(value)
    inner = {
        field.name: format_value(
            getattr(value, field.name), f"{path}.{field.name}", listed_elsewhere
        )
        for field in fields(value)
        if f"{path}.{field.name}" not in listed_elsewhere
    }
    listed = ", ".join(f"{name}={words}" for name, words in inner.items())
    return f"{type(value).__name__}({listed})" if listed else type(value).__name__


def _value_at(experiment: Experiment, path: str) -> Any:
    value: Any = experiment
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
