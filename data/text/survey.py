"""A survey: one pass over all documents that counts them and chooses those to hold out."""

import hashlib
import heapq
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from data.storage import replace_file
from data.text.files import Document

Split = Literal["train", "validation"]
SPLITS: tuple[Split, Split] = ("train", "validation")

# A document is held out if the hash of its name, as a fraction of the largest hash, is below this.
# Hashing names keeps every document in its split when others come and go. Of 3,000 salts tried,
# this one holds out the most varied part of the standard library on Python 3.11 to 3.13: 21 to 25
# files, 0.24 to 0.25 MB, with the same share of encoding tables as the whole (13 %).
_VALIDATION_FRACTION = 0.025
_VALIDATION_SALT = "1398:"
# No more than this is held out, however large the corpus: an evaluation reads all of it.
_MAX_VALIDATION_BYTES = 8_000_000

# With fewer documents than this (usually one), the last part of each is held out.
_MIN_DOCUMENTS_TO_SPLIT_BY = 20
_VALIDATION_TAIL = 0.05

# Part of the key of a saved survey. Raise it when the same text gives another survey.
_SURVEY_VERSION = 1


@dataclass(frozen=True)
class Survey:
    """The result of one pass over all documents."""

    fingerprint: str
    num_documents: int
    num_bytes: int
    num_held_out: int
    held_out_bytes: int
    """Approximate if the end of each document is held out."""
    threshold: float
    """The largest hash of a held-out document's name, if whole documents are held out."""
    num_skipped: int
    """Damaged documents that were left out."""
    first_skipped: str | None
    """The message about the first damaged document."""

    @property
    def splits_inside(self) -> bool:
        """True if the end of each document is held out, False if whole documents are."""
        return self.num_documents < _MIN_DOCUMENTS_TO_SPLIT_BY

    def part(self, document: Document, split: Split) -> Document | None:
        """Return the part of the document that belongs to `split`, None if there is none."""
        if self.splits_inside:
            cut = _tail_start(document.text, self.num_bytes)
            part = slice(cut) if split == "train" else slice(cut, None)
            return Document(document.name, document.text[part])
        is_held_out = _split_hash(document) <= self.threshold
        return document if is_held_out == (split == "validation") else None

    def save(self, path: Path) -> None:
        """Write the survey for `read_survey`. Raises DataError if `path` cannot be written."""
        replace_file(path, json.dumps(asdict(self)).encode())


def take_survey(documents: Iterable[Document], skipped: list[str]) -> Survey:
    """Read all documents once.

    Once all have been read, `skipped` has a message for each damaged document that was left out.
    """
    digest = hashlib.sha256(b"%d" % _SURVEY_VERSION)
    num_documents = num_bytes = held_out_bytes = 0
    # The documents to hold out so far as (-hash, bytes), the largest hash first.
    held_out: list[tuple[float, int]] = []
    for document in documents:
        if not document.text:
            continue
        text = _utf8(document)
        for part in (document.name.encode("utf-8", "surrogateescape"), text):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        num_documents, num_bytes = num_documents + 1, num_bytes + len(text)
        heapq.heappush(held_out, (-_split_hash(document), len(text)))
        held_out_bytes += len(text)
        # The smallest hash always stays: an evaluation needs at least one document.
        while len(held_out) > 1 and (
            -held_out[0][0] > _VALIDATION_FRACTION
            or held_out_bytes - held_out[0][1] >= _MAX_VALIDATION_BYTES
        ):
            held_out_bytes -= heapq.heappop(held_out)[1]
    splits_inside = num_documents < _MIN_DOCUMENTS_TO_SPLIT_BY
    if splits_inside and num_bytes:
        held_out_bytes = round(num_bytes * _tail_fraction(num_bytes))
    threshold = -held_out[0][0] if held_out else 0.0
    digest.update(repr(threshold).encode())
    return Survey(
        fingerprint=digest.hexdigest(),
        num_documents=num_documents,
        num_bytes=num_bytes,
        num_held_out=0 if splits_inside else len(held_out),
        held_out_bytes=held_out_bytes,
        threshold=threshold,
        num_skipped=len(skipped),
        first_skipped=skipped[0] if skipped else None,
    )


def survey_path(folder: Path, key: str) -> Path:
    """Return the path in the cache `folder` of the survey whose text is identified by `key`."""
    content = f"{_SURVEY_VERSION} {key}".encode("utf-8", "surrogateescape")
    return folder / "surveys" / f"{hashlib.sha256(content).hexdigest()}.json"


def read_survey(path: Path) -> Survey | None:
    """Return the survey in `path`; None if it is missing or damaged and must be taken again."""
    with suppress(OSError, ValueError, TypeError):
        return Survey(**json.loads(path.read_bytes()))


def _split_hash(document: Document) -> float:
    return name_hash(_VALIDATION_SALT + document.name)


def name_hash(name: str) -> float:
    """Return a hash of the name, uniform in [0, 1)."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _tail_start(text: str, corpus_bytes: int) -> int:
    """Return the index at which a document's last part begins, after a line end if one is near."""
    tail = _tail_fraction(corpus_bytes)
    cut = round(len(text) * (1 - tail))
    return text.rfind("\n", round(len(text) * (1 - 2 * tail)), cut) + 1 or cut


def _tail_fraction(corpus_bytes: int) -> float:
    return min(_VALIDATION_TAIL, _MAX_VALIDATION_BYTES / corpus_bytes)


def _utf8(document: Document) -> bytes:
    return document.text.encode("utf-8")
