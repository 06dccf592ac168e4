"""The text of a run: documents, and which of them are held out. Never all of it in memory."""

import abc
import hashlib
import json
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Protocol

from data import config
from data.errors import DataConfigError, DataError
from data.text.files import Document, TextFiles
from data.text.survey import SPLITS, Split, Survey, name_hash, read_survey, survey_path, take_survey

# A survey of files that changed less than this before is not kept: they may change once more
# without their time of change telling.
_SETTLED_S = 2.0

# Not code that the standard library's authors wrote to be read: tests, programs with their own
# history, installed packages, and tables that differ from build to build.
_SKIPPED_FOLDERS = frozenset(
    ["test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip"]
    + ["site-packages", "dist-packages", "__pycache__"]
)
_SKIPPED_PREFIX = "_sysconfigdata"


Files = dict[str, bytes]
"""Contents of files by name."""


@dataclass(frozen=True)
class Shard:
    """The documents that one host streams: every `count`-th or so, no document on two hosts."""

    index: int
    count: int

    @classmethod
    def of_rows(cls, rows: slice, batch_size: int) -> "Shard":
        """Of the host that reads `rows` of every batch: hosts with the same rows share one.

        Raises DataConfigError unless the hosts' shares are equal.
        """
        start, stop, _ = rows.indices(batch_size)
        num_rows = stop - start
        if batch_size % num_rows or start % num_rows:
            raise DataConfigError(
                f"data.streaming divides text evenly, and a host that reads rows {start} to {stop} of "
                f"{batch_size} has no even share. Choose another mesh, or leave it out."
            )
        return cls(start // num_rows, batch_size // num_rows)


class DocumentReader(Protocol):
    """The training documents of a shard, shuffled, epoch after epoch. It can be read in order only."""

    def read(self) -> list[str]:
        """The texts of the next few documents. Raises DataError."""
        ...

    def save(self) -> Files:
        """What `restore` needs to go on here."""
        ...

    def restore(self, files: Files) -> None:
        """Goes on where another reader of the same documents was saved. Raises DataError."""
        ...


OpenDocuments = Callable[[Shard, int], DocumentReader]
"""Opens the documents of a shard in the order of a seed."""


class Corpus(abc.ABC):
    """Documents in two splits, each in a fixed order.

    Attributes:
      name: of the seqio task, and of the source in a mixture.
      source: the setting that names the text and its value, for messages.
      fingerprint: changes whenever the documents or their sides change.
      num_train_documents: None if that is not known without reading them.
    """

    num_train_documents: int | None = None

    def __init__(self, name: str, source: str, fingerprint: str) -> None:
        self.name, self.source, self.fingerprint = name, source, fingerprint

    def documents(self, split: Split) -> Iterator[Document]:
        """The documents that are not empty. No text of `validation` is in `train` too.

        Raises:
          DataError: text that cannot be read; at the end, if there was none.
        """
        some = False
        for document in self._read(split):
            if document.text if split == "validation" else self.trains_on(document.text):
                yield document
                some = True
        if not some:
            purpose = "train on" if split == "train" else "hold out"
            raise DataError(
                f"{self.source} has no text to {purpose}. Add more, and different, text."
            )

    def texts(self, split: Split) -> Iterator[str]:
        """The texts of `documents`."""
        return (document.text for document in self.documents(split))

    def training_sample(self, max_bytes: int) -> Iterator[str]:
        """Training texts of about `max_bytes` together, always the same; all if they are fewer."""
        taken = 0
        for document in self.documents("train"):
            taken += len(document.text.encode("utf-8"))
            yield document.text
            if taken >= max_bytes:
                return

    def trains_on(self, text: str) -> bool:
        """Whether a document of the training side is one to train on: not empty, and not held out."""
        return bool(text) and _digest(text) not in self._held_out

    def streamed(self) -> OpenDocuments:
        """What opens the documents of the training side to stream them, in an order of their own and
        with empty and held-out ones among them. Raises DataConfigError where that makes no sense."""
        raise DataConfigError(
            f"data.streaming reads sets that are too large to cache, and {self.source} is cached in "
            "seconds. Leave it out, or name a task of TensorFlow Datasets or of data.module."
        )

    @abc.abstractmethod
    def describe(self) -> str:
        """How much text it is, for people."""

    @abc.abstractmethod
    def _read(self, split: Split) -> Iterator[Document]:
        """All documents of one side."""

    @cached_property
    def _held_out(self) -> frozenset[bytes]:
        return frozenset(_digest(document.text) for document in self._read("validation"))


Weighted = list[tuple[Corpus, Fraction]]
"""Corpora and the share of each in the sequences of a training run; the shares sum to 1."""


class SplitCorpus(Corpus):
    """Documents that come as one series and are split here.

    Whole documents are held out, chosen by name, or the end of each where there are only a few.
    """

    def __init__(
        self, name: str, source: str, read: Callable[[], Iterable[Document]], survey: Survey
    ) -> None:
        super().__init__(name, source, survey.fingerprint)
        self._documents, self._survey = read, survey

    def describe(self) -> str:
        survey = self._survey
        held_out = "the end of each" if survey.splits_inside else f"{survey.num_held_out:,}"
        text = (
            f"{survey.num_documents - survey.num_held_out:,} documents and "
            f"{(survey.num_bytes - survey.held_out_bytes) / 1e6:.1f} MB to train on, {held_out} and "
            f"{survey.held_out_bytes / 1e6:.2f} MB held out"
        )
        if survey.num_skipped:
            text += f"; left out {survey.num_skipped:,} damaged, the first: {survey.first_skipped}"
        return text

    def training_sample(self, max_bytes: int) -> Iterator[str]:
        """Training texts evenly from the whole corpus; all of them if they are fewer."""
        fraction = max_bytes / max(1, self._survey.num_bytes)
        for document in self.documents("train"):
            if fraction >= 1 or name_hash("sample:" + document.name) < fraction:
                yield document.text

    def _read(self, split: Split) -> Iterator[Document]:
        for document in self._documents():
            if part := self._survey.part(document, split):
                yield part


class PresplitCorpus(Corpus):
    """Documents whose source has splits of its own."""

    def __init__(
        self,
        name: str,
        source: str,
        fingerprint: str,
        read: Callable[[Split], Iterator[str]],
        num_documents: Mapping[Split, int] | None = None,
        open_documents: OpenDocuments | None = None,
    ) -> None:
        super().__init__(name, source, fingerprint)
        self._texts, self._num_documents = read, num_documents
        self._open_documents = open_documents
        if num_documents is not None:
            self.num_train_documents = num_documents["train"]

    def describe(self) -> str:
        if self._num_documents is None:
            return "train and validation splits of its own"
        train, validation = (self._num_documents[split] for split in SPLITS)
        return f"{train:,} documents to train on, {validation:,} held out"

    def streamed(self) -> OpenDocuments:
        return self._open_documents or super().streamed()

    def _read(self, split: Split) -> Iterator[Document]:
        return (Document(str(i), text) for i, text in enumerate(self._texts(split)))


def file_corpus(name: str, source: str, files: TextFiles, folder: Path) -> SplitCorpus:
    """The corpus of some files. They are read only if they changed since the last time.

    Args:
      folder: the cache, where surveys are kept.

    Raises:
      DataError: a file that cannot be read, no text at all, or a cache that cannot be written.
    """
    options = files.options
    listing = files.listing()
    key = json.dumps([options.field, options.separator, options.on_error, listing])
    path = survey_path(folder, key)
    survey = read_survey(path)
    if survey is None:
        skipped: list[str] = []
        survey = take_survey(files.documents(skipped), skipped)
        if files.listing() != listing:
            raise DataError(f"The files of {source} changed while they were read. Start again.")
        if max(changed_ns for *_, changed_ns in listing) / 1e9 < time.time() - _SETTLED_S:
            survey.keep(path)
    if not survey.num_documents:
        raise DataError(
            f"{source} has no text to train on, in {len(files.paths):,} files. Add more, and "
            "different, text."
        )
    return SplitCorpus(name, source, lambda: files.documents([]), survey)


def stdlib_corpus(folder: Path) -> SplitCorpus:
    """The source of this Python's standard library. Raises as `file_corpus` does."""
    return file_corpus("stdlib", "data.task='stdlib'", stdlib_files(), folder)


def stdlib_files() -> TextFiles:
    """The source files of this Python's standard library, about 11 MB without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return TextFiles.below(
        root,
        (
            path
            for path in root.rglob("*.py")
            if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts)
            and not path.name.startswith(_SKIPPED_PREFIX)
        ),
        config.Files(f"{root}/**/*.py"),
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
