"""The notes of a config on its paper: the source of each value, and what is not published."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from data.config import PublishedSource


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One paper, in the terms of its config.

    A key is the dotted path of an `Experiment`'s field, such as `model.norm` or
    `optimizer.schedule`; it covers the fields below it.
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


def nearest(path: str, keys: Iterable[str]) -> str | None:
    """Return the key that covers the path, itself or the closest field above it, or None."""
    covering = [key for key in keys if path == key or path.startswith(f"{key}.")]
    return max(covering, key=len, default=None)
