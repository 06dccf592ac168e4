"""The text of a run: documents in two splits, never all of them in memory."""

import abc
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Protocol

from data.errors import DataConfigError, DataError
from data.text.files import Document, TextFiles
from data.text.survey import SPLITS, Split, Survey, name_hash, read_survey, survey_path, take_survey

# A survey is not saved if a file changed less than this long ago: the file may change again within
# the resolution of its time of change.
_SETTLED_S = 2.0

SavedFiles = dict[str, bytes]
"""The state of a reader of text as files: contents by name."""


@dataclass(frozen=True)
class Shard:
    """The share `index` of `count` equal shares of the documents; each host streams one."""

    index: int
    count: int

    @classmethod
    def of_rows(cls, rows: slice, batch_size: int) -> "Shard":
        """Return the shard of the hosts that read `rows` of every batch.

        Raises DataConfigError unless the shares of all hosts are equal.
        """
        start, stop, _ = rows.indices(batch_size)
        num_rows = stop - start
        if batch_size % num_rows or start % num_rows:
            raise DataConfigError(
                f"data.streaming divides text evenly, and a host that reads rows {start} to {stop} "
                f"of {batch_size} has no even share; choose another mesh, or leave out "
                "data.streaming"
            )
        return cls(start // num_rows, batch_size // num_rows)


class DocumentReader(Protocol):
    """The training documents of a shard, shuffled, epoch after epoch, read in order only."""

    def read(self) -> list[str]:
        """Return the texts of the next few documents. Raises DataError if they cannot be read."""
        ...

    def save(self) -> SavedFiles:
        """Return the files from which `restore` resumes here."""
        ...

    def restore(self, files: SavedFiles) -> None:
        """Resume where another reader of the same documents called `save`.

        Raises DataError if the files are damaged.
        """
        ...


OpenDocuments = Callable[[Shard, int], DocumentReader]
"""A function that opens the documents of a shard, in the order of a seed."""


class Corpus(abc.ABC):
    """Documents in two splits, each in a fixed order."""

    name: str
    """Name of the seqio task, and of the source in a mixture."""
    source: str
    """The setting that names the text, with its value, for messages."""
    fingerprint: str
    """A hash that changes whenever the documents or their splits change."""
    num_train_documents: int | None = None
    """None if the number is unknown without reading them."""

    def __init__(self, name: str, source: str, fingerprint: str):
        self.name, self.source, self.fingerprint = name, source, fingerprint

    def documents(self, split: Split) -> Iterator[Document]:
        """Yield the documents that are not empty. No text of `validation` is also in `train`.

        Raises DataError if text cannot be read or, at the end, if there was none.
        """
        empty = True
        for document in self._read(split):
            if document.text if split == "validation" else self.trains_on(document.text):
                yield document
                empty = False
        if empty:
            purpose = "train on" if split == "train" else "hold out"
            raise DataError(
                f"{self.source} has no text to {purpose}; add more, and different, text"
            )

    def texts(self, split: Split) -> Iterator[str]:
        """Yield the texts of `documents`."""
        return (document.text for document in self.documents(split))

    def training_sample(self, max_bytes: int) -> Iterator[str]:
        """Yield about `max_bytes` of training texts, the same every time, or all if fewer."""
        num_bytes = 0
        for document in self.documents("train"):
            num_bytes += len(document.text.encode("utf-8"))
            yield document.text
            if num_bytes >= max_bytes:
                return

    def trains_on(self, text: str) -> bool:
        """Return whether a text of the train split is to be trained on: not empty, not held out."""
        return bool(text) and text_digest(text) not in self._held_out

    def streamed(self) -> OpenDocuments:
        """Return the function that opens the train split as a stream.

        The stream includes empty and held-out documents; its order differs from that of
        `documents`. Raises DataConfigError if the corpus cannot be streamed.
        """
        raise DataConfigError(
            f"data.streaming reads sets that are too large to cache, and {self.source} is cached "
            "in seconds; leave out data.streaming, or name a task of TensorFlow Datasets or of "
            "data.module"
        )

    @abc.abstractmethod
    def describe(self) -> str:
        """Return the amount of text, in words for people."""

    @abc.abstractmethod
    def _read(self, split: Split) -> Iterator[Document]:
        """Yield all documents of one split, including empty ones."""

    @cached_property
    def _held_out(self) -> frozenset[bytes]:
        return frozenset(text_digest(document.text) for document in self._read("validation"))


Weighted = list[tuple[Corpus, Fraction]]
"""Corpora and the share of each in the sequences of a training run; the shares sum to 1."""


class SplitCorpus(Corpus):
    """Documents that come as one series and are split by the zoo.

    Whole documents are held out, chosen by name, or the end of each if there are only a few.
    """

    def __init__(
        self, name: str, source: str, read: Callable[[], Iterable[Document]], survey: Survey
    ):
        super().__init__(name, source, survey.fingerprint)
        self._read_all, self._survey = read, survey

    def describe(self) -> str:
        survey = self._survey
        held_out = "the end of each" if survey.splits_inside else f"{survey.num_held_out:,}"
        num_documents = survey.num_documents - survey.num_held_out
        num_bytes = survey.num_bytes - survey.held_out_bytes
        text = (
            f"{num_documents:,} documents and {num_bytes / 1e6:.1f} MB to train on, "
            f"{held_out} and {survey.held_out_bytes / 1e6:.2f} MB held out"
        )
        if survey.num_skipped:
            text += f"; left out {survey.num_skipped:,} damaged, the first: {survey.first_skipped}"
        return text

    def training_sample(self, max_bytes: int) -> Iterator[str]:
        """Yield about `max_bytes` of training texts from all over the corpus, or all if fewer."""
        fraction = max_bytes / max(1, self._survey.num_bytes)
        for document in self.documents("train"):
            if fraction >= 1 or name_hash("sample:" + document.name) < fraction:
                yield document.text

    def _read(self, split: Split) -> Iterator[Document]:
        for document in self._read_all():
            if part := self._survey.part(document, split):
                yield part


class PresplitCorpus(Corpus):
    """Documents that come in two splits.

    Without `open_documents` they cannot be streamed. `description` is for unknown numbers of them.
    """

    def __init__(
        self,
        name: str,
        source: str,
        fingerprint: str,
        read: Callable[[Split], Iterator[str]],
        num_documents: Mapping[Split, int] | None = None,
        open_documents: OpenDocuments | None = None,
        description: str = "with its own train and validation splits",
    ):
        super().__init__(name, source, fingerprint)
        self._read_texts, self._open_documents = read, open_documents
        self._description = description
        if num_documents is not None:
            train, validation = (num_documents[split] for split in SPLITS)
            self._description = f"{train:,} documents to train on, {validation:,} held out"
            self.num_train_documents = train

    def describe(self) -> str:
        return self._description

    def streamed(self) -> OpenDocuments:
        return self._open_documents or super().streamed()

    def _read(self, split: Split) -> Iterator[Document]:
        return (Document(str(i), text) for i, text in enumerate(self._read_texts(split)))


def file_corpus(name: str, source: str, files: TextFiles, folder: Path) -> SplitCorpus:
    """Return the corpus of some files, surveyed only if they changed since the last time.

    Surveys are kept in the cache `folder`. Raises DataError if a file cannot be read, there is no
    text, or the cache cannot be written.
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
            raise DataError(
                f"the files of {source} changed while they were read; run the command again"
            )
        if (
            max((changed_ns for *_, changed_ns in listing), default=0) / 1e9
            < time.time() - _SETTLED_S
        ):
            survey.save(path)
    if not survey.num_documents:
        raise DataError(
            f"{source} has no text to train on, in {len(files.paths):,} files; add more, and "
            "different, text"
        )
    return SplitCorpus(name, source, lambda: files.documents([]), survey)


def text_digest(text: str) -> bytes:
    """Return a digest that is the same for equal texts."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def text_fingerprint(corpora: Weighted) -> dict[str, str | int]:
    """Return the fingerprint of one corpus, or those of several with their shares."""
    if len(corpora) == 1:
        return {"corpus": corpora[0][0].fingerprint}
    return {f"corpus {corpus.name}": f"{corpus.fingerprint} {share}" for corpus, share in corpora}
