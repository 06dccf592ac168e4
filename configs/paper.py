"""What a config says about its paper: where each value stands in it, and what it does not say."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One paper, in the terms of its config. A key is the dotted path of an `Experiment`'s field, such
    as `model.norm` or `optimizer.schedule`; it covers the fields below it."""

    family: str
    """As people call it: "PaLM"."""
    title: str
    authors: str
    """As one cites it: "Chowdhery et al. 2022"."""
    reference: str
    """Where to find it: "arXiv 2204.02311"."""
    sources: dict[str, str]
    """Where each value stands, by section, table or file of the released code."""
    not_published: dict[str, str]
    """For each value that the paper does not give: what was chosen here, and why."""
    reasons: dict[str, str]
    """Why the paper made its choices, in a sentence each; only where it says so."""
    mismatches: dict[str, str] = field(default_factory=dict)
    """By model name: how a published number differs from the count, and why."""


def nearest(path: str, keys: Iterable[str]) -> str | None:
    """The key that covers the path: the path itself or the closest field above it."""
    covering = [key for key in keys if path == key or path.startswith(f"{key}.")]
    return max(covering, key=len, default=None)
