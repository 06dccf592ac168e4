"""The notes of a config on its paper: the source of each value, and what is not published."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from data.config import PublishedSource


@dataclass(frozen=True)
class Note:
    """The reason for a value of a config."""

    origin: Literal["paper", "zoo"]
    """paper: it is published. zoo: the zoo has chosen it."""
    text: str
    """The place in the paper, or the choice and why."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One paper, in the terms of its config.

    A key is the dotted path of an `Experiment`'s field, such as `model.norm` or
    `optimizer.schedule`; it covers the fields below it. A key such as `palm_540b:batch_ramp` is for
    one model, and replaces what there is under that path for all.
    """

    family: str
    """Usual name: "PaLM"."""
    title: str
    authors: str
    """Short citation: "Chowdhery et al. 2022"."""
    reference: str
    """Place of publication: "arXiv 2204.02311"."""
    sources: dict[str, str]
    """Section, table or file of the released code that gives each value."""
    not_published: dict[str, str]
    """Choice of the zoo for each value that the paper does not give, and why."""
    reasons: dict[str, str]
    """Reasons that the paper itself gives for its choices, in a sentence each."""
    mixture: tuple[PublishedSource, ...]
    """Sources of the training text with the share of each in what is drawn."""
    mixture_source: str
    """Section or table that gives the mixture, and what it leaves open."""
    mismatches: dict[str, str] = field(default_factory=dict)
    """Difference between a published number and the exact count, and why, by model name."""

    def of_model(self, model: str) -> "Paper":
        """Return the paper with the notes on one model only, all under plain paths."""
        given, prefix = (self.sources, self.not_published), f"{model}:"
        own = [
            {
                key.removeprefix(prefix): text
                for key, text in notes.items()
                if key.startswith(prefix)
            }
            for notes in given
        ]
        replaced = {*own[0], *own[1]}
        shared = [
            {key: text for key, text in notes.items() if ":" not in key and key not in replaced}
            for notes in given
        ]
        return replace(self, sources=shared[0] | own[0], not_published=shared[1] | own[1])

    def note(self, path: str) -> Note | None:
        """Return the note on the value at `path`: that of the closest key, or None."""
        cited, chosen = nearest(path, self.sources), nearest(path, self.not_published)
        if cited is not None and len(cited) > len(chosen or ""):
            return Note("paper", self.sources[cited])
        return None if chosen is None else Note("zoo", self.not_published[chosen])


def nearest(path: str, keys: Iterable[str]) -> str | None:
    """Return the key that covers the path, itself or the closest field above it, or None."""
    covering = [key for key in keys if path == key or path.startswith(f"{key}.")]
    return max(covering, key=len, default=None)
