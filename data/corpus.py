"""The text of a run: documents, and which of them are held out. Standard library only."""

import difflib
import functools
import glob
import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from data.config import Data
from data.errors import DataConfigError, DataError

# A document is held out when the hash of its name, as a fraction of the largest hash, is below
# this. Hashing names keeps every document on its side when others come and go. The salt is the
# one of 3,000 tried that holds out the most varied part of the standard library on Python 3.11 to
# 3.13: 21 to 25 files, 0.24 to 0.25 MB, with as many encoding tables as the whole has (13 %).
_VALIDATION_FRACTION = 0.025
_VALIDATION_SALT = "1398:"

# With fewer documents than this (most often one), each gives its last part to validation.
_MIN_DOCUMENTS_TO_SPLIT_BY = 20
_VALIDATION_TAIL = 0.05

# Not code that the standard library's authors wrote to be read: tests, programs with their own
# history, installed packages, and tables that differ from build to build.
_SKIPPED_FOLDERS = frozenset(
    ["test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip"]
    + ["site-packages", "dist-packages", "__pycache__"]
)
_SKIPPED_PREFIX = "_sysconfigdata"


@dataclass(frozen=True)
class Document:
    """One text with a name that does not depend on the machine."""

    name: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order; no document of `validation` has the text of one in `train`.

    `source` says where they come from: the setting and its value, for messages.
    """

    source: str
    train: tuple[Document, ...]
    validation: tuple[Document, ...]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every name and text on its side of the split, in hexadecimal."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation):
            digest.update(len(split).to_bytes(8, "little"))
            for document in split:
                for part in (document.name.encode("utf-8", "surrogateescape"), _utf8(document)):
                    digest.update(len(part).to_bytes(8, "little"))
                    digest.update(part)
        return digest.hexdigest()


def num_bytes(documents: Iterable[Document]) -> int:
    """The length of the texts in UTF-8 bytes."""
    return sum(len(_utf8(document)) for document in documents)


def read_corpus(config: Data) -> Corpus:
    """Reads the text that `config` names, and splits it.

    Raises:
      DataConfigError: there is no such task.
      DataError: no such file, text that cannot be read, or nothing left to hold out.
    """
    if config.files is not None:
        return split(read_files(config.files), source=f"data.files={config.files!r}")
    if config.task not in _TASKS:
        near = difflib.get_close_matches(config.task, _TASKS, cutoff=0.0)
        raise DataConfigError(
            f"data.task={config.task!r} is not a known task. "
            f"Write one of {', '.join(near)}, or name your own files with data.files."
        )
    return split(_TASKS[config.task](), source=f"data.task={config.task!r}")


def read_stdlib() -> list[Document]:
    """The source files of this Python's standard library, about 11 MB without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = (
        path
        for path in root.rglob("*.py")
        if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts)
        and not path.name.startswith(_SKIPPED_PREFIX)
    )
    return _read(paths, root)


def read_files(pattern: str) -> list[Document]:
    """The files that match a glob, one document each; `**` and `~` have their usual meaning.

    A document's name is its path below the pattern's fixed part, so that a moved folder is the
    same corpus.
    """
    expanded = Path(os.path.expanduser(pattern))
    matches = glob.glob(str(expanded), recursive=True)
    paths = [Path(match) for match in matches if not os.path.isdir(match)]
    if not paths:
        raise DataError(
            f"data.files={pattern!r} matches no file. Give a path or a glob that does, in quotes, "
            "such as 'notes/**/*.txt'."
        )
    root = expanded.parent
    while glob.has_magic(str(root)):
        root = root.parent
    return _read(paths, root)


def split(documents: Iterable[Document], *, source: str) -> Corpus:
    """Holds out whole documents, or the end of each where there are only a few.

    Args:
      documents: in any order; the empty ones are left out.
      source: where they come from.

    Raises:
      DataError: there is no text to train on or none to hold out.
    """
    ordered = sorted((d for d in documents if d.text), key=lambda document: document.name)
    if len(ordered) < _MIN_DOCUMENTS_TO_SPLIT_BY:
        train, held_out = _split_inside(ordered)
    else:
        train, held_out = _split_by_name(ordered)
    known = {document.text for document in train}
    validation = tuple(document for document in held_out if document.text not in known)
    if not train or not validation:
        raise DataError(
            f"{source} has no text {'to hold out' if train else 'to train on'} "
            f"(documents that are not empty: {len(ordered)}). Add more, and different, text."
        )
    return Corpus(source, tuple(train), validation)


def _split_by_name(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    # Whatever the hashes, the smallest of them is held out: there must be something to evaluate.
    threshold = max(_VALIDATION_FRACTION, min(map(_name_hash, documents)))
    train, validation = [], []
    for document in documents:
        (train if _name_hash(document) > threshold else validation).append(document)
    return train, validation


def _name_hash(document: Document) -> float:
    name = (_VALIDATION_SALT + document.name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") / 2**64


def _split_inside(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Cuts off the last part of each document, after a line end if one is near."""
    train, validation = [], []
    for document in documents:
        length = len(document.text)
        cut = round(length * (1 - _VALIDATION_TAIL))
        line_end = document.text.rfind("\n", round(length * (1 - 2 * _VALIDATION_TAIL)), cut)
        if line_end >= 0:
            cut = line_end + 1
        train.append(Document(document.name, document.text[:cut]))
        validation.append(Document(document.name, document.text[cut:]))
    return [d for d in train if d.text], [d for d in validation if d.text]


def _read(paths: Iterable[Path], root: Path) -> list[Document]:
    return [Document(path.relative_to(root).as_posix(), _read_text(path)) for path in paths]


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # bytes: line ends stay as they are
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror or error}. "
            "Make it readable, or narrow data.files so that it is left out."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}. "
            "Convert it to UTF-8, or narrow data.files so that it is left out."
        ) from error


def _utf8(document: Document) -> bytes:
    return document.text.encode("utf-8")


_TASKS: dict[str, Callable[[], list[Document]]] = {"stdlib": read_stdlib}
