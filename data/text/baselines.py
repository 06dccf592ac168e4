"""Bits per byte of the validation text by a compressor and by an n-gram model: numbers to beat."""

import hashlib
import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.storage import replace_file
from data.text.corpus import Corpus
from data.text.files import Document
from data.text.ngram import Ngram

# Part of the key of cached numbers. Raise it when the same corpus gives other numbers.
_VERSION = 2
# For each megabyte, the 5-gram takes 30 MB of memory, and xz a second.
_MAX_TRAIN_BYTES, _MAX_VALIDATION_BYTES = 16_000_000, 4_000_000


@dataclass(frozen=True)
class ChangedText:
    """The way a vocabulary changes every text before a model sees it."""

    change: Callable[[str], str]
    fingerprint: str


def cached_baselines(
    corpora: Sequence[Corpus], folder: Path, changed: ChangedText | None = None
) -> dict[str, float]:
    """Return bits per byte of the validation documents, by name, measured once per cache `folder`.

    `xz -9` compresses them as one file. The byte-level 5-gram is trained on `training_sample`. Both
    see at most 4 MB of validation documents, the same number of bytes from each corpus. Measuring
    takes about 2 s for 10 MB. With `changed` text there is no 5-gram: changing what it is trained
    on would take minutes.

    Raises DataError if the text cannot be read, or the cache cannot be written.
    """
    key = "-".join(corpus.fingerprint for corpus in corpora)
    if changed is not None:
        key = f"{key} {changed.fingerprint}"
    if len(corpora) > 1 or changed is not None:
        key = hashlib.sha256(key.encode()).hexdigest()
    path = folder / "baselines" / f"{key}-{_VERSION}.json"
    with suppress(OSError, ValueError):  # if it is missing or damaged, measure again
        return json.loads(path.read_bytes())
    validation: list[bytes] = []
    for corpus in corpora:
        validation += _first_bytes(
            corpus.documents("validation"), _MAX_VALIDATION_BYTES // len(corpora)
        )
    if changed is None:
        baselines = measure(training_sample(corpora), validation)
    else:
        texts = (text.decode("utf-8", errors="ignore") for text in validation)
        baselines = measure([], [changed.change(text).encode("utf-8") for text in texts])
    replace_file(path, json.dumps(baselines).encode())
    return baselines


def training_sample(corpora: Sequence[Corpus]) -> list[bytes]:
    """Return train documents for the 5-gram: at most 16 MB, as many bytes from each corpus."""
    return [
        text.encode("utf-8")
        for corpus in corpora
        for text in corpus.training_sample(_MAX_TRAIN_BYTES // len(corpora))
    ]


def measure(train: list[bytes], validation: list[bytes]) -> dict[str, float]:
    """Return bits per byte of `validation`, by name; without `train` there is no 5-gram."""
    joined = b"".join(validation)
    baselines = {"xz -9": 8 * len(lzma.compress(joined, preset=9)) / len(joined)}
    if train:
        seen, held_out = (
            [np.frombuffer(text, np.uint8) for text in texts] for texts in (train, validation)
        )
        baselines["byte 5-gram"] = Ngram.count(seen, 5, 256).bits(held_out)
    return baselines


def _first_bytes(documents: Iterable[Document], max_bytes: int) -> Iterator[bytes]:
    """Yield the first `max_bytes` of the documents."""
    num_bytes = 0
    for document in documents:
        text = document.text.encode("utf-8")[: max_bytes - num_bytes]
        yield text
        num_bytes += len(text)
        if num_bytes >= max_bytes:
            return
