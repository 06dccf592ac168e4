"""The settings of a run's text, as plain data. Standard library only."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, assert_never, cast

from data.errors import DataConfigError

MAY_CHANGE = {"on_resume": "may_change"}
"""Metadata of a config field that a resumed run may change; all other fields must stay the same.

These fields change neither the model nor the text that it sees at each step. `num_steps` does move
the end of a cosine schedule."""


@dataclass(frozen=True)
class Task:
    """A task: `stdlib`, `packages`, a set of TensorFlow Datasets, or a task or mixture of seqio."""

    name: str = "stdlib"
    module: str | None = None
    """A Python module that registers seqio tasks or mixtures when it is imported."""
    data_dir: str | None = None
    """The folder of TensorFlow Datasets' prepared sets; None: the library's default."""

    @property
    def setting(self) -> str:
        """The setting that names this source, with its value, for messages."""
        return f"data.task={self.name!r}"


@dataclass(frozen=True)
class Files:
    """Text files: plain text or JSON lines, each also as .gz or .zst."""

    pattern: str
    """A glob such as 'notes/**/*.txt'."""
    field: str = "text"
    """The key of the text in a line of JSON."""
    separator: str | None = None
    """The text between two documents of a text file; None: a file is one document."""
    on_error: Literal["stop", "skip"] = "stop"
    """The reaction to a damaged line of JSON or a file that is not UTF-8: stop, or leave it out."""

    def __post_init__(self):
        if self.separator == "":
            raise DataConfigError(
                "data.separator='' separates nothing; leave it out, or write some text"
            )

    @property
    def setting(self) -> str:
        """The setting that names this source, with its value, for messages."""
        return f"data.files={self.pattern!r}"


@dataclass(frozen=True)
class Part:
    """One source of a mixture."""

    source: Task | Files
    rate: Fraction
    """The frequency with which its sequences are drawn, relative to the other parts."""

    def __post_init__(self):
        if self.rate <= 0:
            raise DataConfigError(
                f"data.mixture has '{self}': a rate must be above zero; leave the source out, or "
                "give it a positive rate"
            )

    def __str__(self):
        name = self.source.name if isinstance(self.source, Task) else self.source.pattern
        return f"{name}={self.rate}"


@dataclass(frozen=True)
class Mixture:
    """Several sources, each with the rate at which its sequences are drawn."""

    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, parts: Sequence[str]) -> "Mixture":
        """Return the mixture of parts written SOURCE=RATE, such as 'stdlib=3' 'notes/**/*.txt=1'.

        A source with a slash, a dot or a wildcard is a glob; any other is the name of a task.
        """
        return cls(tuple(_parse_part(part) for part in parts))

    @property
    def setting(self) -> str:
        """The setting that names this source, with its value, for messages."""
        return f"data.mixture={' '.join(map(str, self.parts))!r}"


@dataclass(frozen=True)
class PublishedSource:
    """One source of the training text in a paper."""

    name: str
    percent: float
    """Share of the training sequences that is drawn from it, as the paper prints it."""
    epochs: float | None = None
    """Passes over it in the paper's run. None: not known here."""
    stand_in: str | None = None
    """The task of a public set to read instead. None: no set is like it."""


@dataclass(frozen=True)
class PaperMixture:
    """The mixture of a paper, read from those stand-ins that are prepared.

    The other sources are left out, and the rates of the rest are scaled up.
    """

    sources: tuple[PublishedSource, ...] = ()
    """The paper's sources; none in a command's flags, before the model is known."""
    data_dir: str | None = None
    """The folder of TensorFlow Datasets' prepared sets; None: the library's default."""

    @property
    def setting(self) -> str:
        """The setting that names this source, with its value, for messages."""
        return "data.mixture='paper'"


Source = Task | Files | Mixture | PaperMixture
"""The source of a run's text."""

Packing = Literal["split", "whole", "unmasked"]
"""The way documents fill sequences; see `Data.packing`."""


VocabularyStyle = Literal["gpt1", "gpt2", "jurassic1", "gopher", "chinchilla", "palm", "llama"]
"""The paper whose tokenizer a trained vocabulary follows."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The text that a run reads, and its order."""

    source: Source = dataclasses.field(default=Task(), metadata=MAY_CHANGE)
    """The text. A resumed run may name it differently, as long as the text is the same."""
    vocabulary: str | None = dataclasses.field(default=None, metadata=MAY_CHANGE)
    """A vocabulary made by python -m data.vocabulary. None: train one on the text."""
    vocabulary_style: VocabularyStyle = dataclasses.field(default="palm", metadata=MAY_CHANGE)
    """The paper whose tokenizer is trained: gpt1 on lower-case words, gpt2 on bytes, the others
    with SentencePiece, jurassic1 across words. gpt1 and gopher change the text."""
    vocabulary_size: int | None = dataclasses.field(default=None, metadata=MAY_CHANGE)
    """Tokens of the vocabulary to train; gpt1 gets fewer from a small text. None: as many as the
    model has rows."""
    vocabulary_bytes: int | None = dataclasses.field(default=None, metadata=MAY_CHANGE)
    """Bytes of text to train the vocabulary on, an even sample of a larger text. None: 100 MB, or
    the first 20 MB of a stream."""
    streaming: bool = False
    """Encode the training text while it is read, without a cache: for a task too large to wait for.
    Only the validation split is cached. The order is shuffled by file and in a buffer of 8,192
    documents; a run resumes exactly only on the same number of hosts."""
    packing: Packing = "split"
    """The way documents fill sequences. unmasked: end to end, cut wherever a sequence is full; a
    token sees all tokens before it in its sequence, those of other documents too. split: the same,
    but a token sees its own document only, in which positions start at 0. whole: as split, but a
    document is cut only if it is longer than a sequence; the rest is padding."""
    seed: int = 0
    """Seed of the order in which the training windows are seen."""
    allow_change: bool = dataclasses.field(default=False, metadata=MAY_CHANGE)
    """Let a run resume although its text, vocabulary or order has changed."""
    cache_dir: str | None = dataclasses.field(default=None, metadata=MAY_CHANGE)
    """Folder of vocabularies and token caches. None: the user's cache folder."""

    def __post_init__(self):
        for name in ("vocabulary_size", "vocabulary_bytes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise DataConfigError(f"data.{name}={value} must be above zero; leave it out")


def without_code(data: Data) -> Data:
    """Return the settings that a checkpoint holds, without what would import a module.

    Nor do they name folders that this machine would write to.
    """
    source = with_options(data.source, {"module": None})
    return dataclasses.replace(data, source=source, vocabulary=None, cache_dir=None)


def leaves(source: Source) -> tuple[Task | Files | PaperMixture, ...]:
    """Return the sources of a mixture's parts, or else `source` alone."""
    if isinstance(source, Mixture):
        return tuple(part.source for part in source.parts)
    return (source,)


def with_options(source: Source, options: Mapping[str, Any]) -> Source:
    """Return `source` with the `options`, values by field, that it or its parts have."""
    match source:
        case Task() | Files() | PaperMixture():
            names = {field.name for field in dataclasses.fields(source)}
            own = {name: value for name, value in options.items() if name in names}
            return dataclasses.replace(source, **own)
        case Mixture():
            parts = (
                Part(cast(Task | Files, with_options(part.source, options)), part.rate)
                for part in source.parts
            )
            return Mixture(tuple(parts))
        case _:
            assert_never(source)


def without_paths(source: Source) -> Source:
    """Return `source` without the paths of its files, which may differ between hosts."""
    return with_options(source, {"pattern": ""})


def _parse_part(text: str) -> Part:
    name, equals, number = text.rpartition("=")
    try:
        if not equals or not name:
            raise ValueError
        rate = Fraction(number)
    except (ValueError, ZeroDivisionError) as error:
        raise DataConfigError(
            f"data.mixture has {text!r}; write SOURCE=RATE, such as 'stdlib=3' 'notes/*.txt=1'"
        ) from error
    is_glob = re.search(r"[/.*?\[]", name)
    return Part(Files(name) if is_glob else Task(name), rate)
