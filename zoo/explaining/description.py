"""What there is to say about each model: its numbers, its choices and what its paper says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import configs
from configs.experiment import Experiment
from configs.paper import Paper
from models.flops import forward_flops_per_token, kv_cache_bytes_per_token, train_flops_palm
from models.parameters import params_by_part
from zoo.explaining.choices import choices

GPT4 = (
    "GPT-4 has no config: its report (OpenAI 2023, arXiv 2303.08774, section 2) publishes no "
    "architecture, no size and no training method."
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """One model in numbers."""

    name: str
    family: str
    experiment: Experiment
    reported_params: str | None
    """As the paper prints it; None for a size that is in no paper."""

    @property
    def paper(self) -> Paper:
        return configs.FAMILIES[self.family].PAPER

    @property
    def num_params(self) -> int:
        return sum(params_by_part(self.experiment.model).values())

    @property
    def flops_per_token(self) -> float:
        """Of training, by PaLM's convention, at the length of the training sequences."""
        return train_flops_palm(self.experiment.model, self.num_params, self.experiment.seq_len)

    @property
    def decode_flops_per_token(self) -> int:
        """Of decoding one token that sees a whole context."""
        model = self.experiment.model
        return forward_flops_per_token(model, model.context_length)

    @property
    def kv_cache_bytes_per_token(self) -> float:
        """What decoding must keep of each token of a whole context, in bfloat16: of a banded layer
        only its band."""
        model = self.experiment.model
        return kv_cache_bytes_per_token(model, model.context_length)

    @property
    def zoo_kv_cache_bytes_per_token(self) -> float:
        """What models/cache.py keeps of each token in a row, in bfloat16: of a banded layer, too, every
        token. The projected distances of relative positions, once for all rows, come on top."""
        model = self.experiment.model
        dense = replace(model, attention=replace(model.attention, windows=(None,)))
        return kv_cache_bytes_per_token(dense, model.context_length)

    @property
    def tokens_per_param(self) -> float:
        """Of the training run."""
        return self.experiment.num_tokens / self.num_params

    def value(self, path: str) -> Any:
        """The experiment's value at a dotted path; None where it has another choice there."""
        return _at(self.experiment, path)

    def is_published(self, path: str) -> bool:
        """Whether any size of the paper has this value too: a scaled-down model has some of its own."""
        published = configs.FAMILIES[self.family].PUBLISHED.values()
        return any(_at(experiment, path) == self.value(path) for experiment in published)

    def to_json(self) -> dict[str, Any]:
        """Field names are stable; docs/json.md says what they mean."""
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
            "zoo_kv_cache_bytes_per_token": self.zoo_kv_cache_bytes_per_token,
            "num_tokens": experiment.num_tokens,
            "tokens_per_param": self.tokens_per_param,
            "sources": paper.sources,
            "reasons": paper.reasons,
            "not_published": paper.not_published,
        }


def describe(name: str) -> Description:
    """The model called `name`; ConfigError if there is none."""
    family = configs.family_of(name)
    return Description(
        name=name,
        family=family,
        experiment=configs.get(name),
        reported_params=configs.FAMILIES[family].REPORTED_PARAMS.get(name),
    )


def family_members(family: str) -> list[Description]:
    """All sizes of a family, smallest first as its config has them."""
    return [describe(name) for name in configs.FAMILIES[family].FAMILY]


COLUMNS = {
    "model": "",
    "layers": "",
    "d_model": "",
    "heads": "how many x how wide; in brackets those of keys and values, where they are fewer",
    "d_ff": "",
    "context": "tokens",
    "vocab": "",
    "parameters": "",
    "published": "parameters as the paper prints them; - is a size of the zoo's own",
    "FLOPs": "of a token in training, 6N + 12LHQT (PaLM, appendix B), T a band's width where there is one",
    "KV bytes": "what decoding needs to keep of a token, averaged over a full context, in bfloat16: of "
    "a banded layer only its band (the zoo's own cache keeps every token)",
    "tok/par": "tokens of the training run per parameter",
}
"""Of a table of models: each with what it means, where its name does not say it."""


def row(each: Description) -> list[str]:
    """The cells of COLUMNS."""
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
        short(each.tokens_per_param),
    ]


def short(value: float) -> str:
    """Three digits or all before the point: 1,234, 23 and 0.57."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def folded(members: Sequence[Description]) -> list[Description]:
    """Of a family with very many published sizes, all of them but the largest."""
    published = [each for each in members if each.reported_params is not None]
    return sorted(published, key=lambda each: each.num_params)[:-1] if len(published) > 12 else []


def in_words(value: Any, path: str = "", spoken_for: tuple[str, ...] = ()) -> str:
    """A value of a config: a choice by its name and values, without those fields that have an entry of
    their own in `spoken_for`."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if not is_dataclass(value):
        return "none" if value == () else str(value)
    inner = {
        field.name: in_words(getattr(value, field.name), f"{path}.{field.name}", spoken_for)
        for field in fields(value)
        if f"{path}.{field.name}" not in spoken_for
    }
    listed = ", ".join(f"{name}={words}" for name, words in inner.items())
    return f"{type(value).__name__}({listed})" if listed else type(value).__name__


def _at(experiment: Experiment, path: str) -> Any:
    value: Any = experiment
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
