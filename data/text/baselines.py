"""What a compressor and an n-gram make of the validation text: numbers to beat."""

import hashlib
import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from data.storage import replace_file
from data.text.byte_ngram import ByteNgram
from data.text.corpus import Corpus
from data.text.files import Document

# Raise it when the same corpus gives other numbers.
_VERSION = 2
# The 5-gram takes 20 MB of memory a megabyte, and xz a second.
_MAX_TRAIN_BYTES, _MAX_VALIDATION_BYTES = 16_000_000, 4_000_000


def cached_baselines(corpora: Sequence[Corpus], folder: Path) -> dict[str, float]:
    """Bits per byte of the validation documents, by a compressor and by counting.

    `xz -9` sees them as one file, and nothing else. The byte-level 5-gram is trained on the train
    documents, evenly 16 MB of them where there are more. Of validation documents 4 MB are taken,
    the same from each corpus. About 2 s the first time for 10 MB; kept in the cache `folder`.

    Raises:
      DataError: the text cannot be read, or the cache cannot be written.
    """
    key = "-".join(corpus.fingerprint for corpus in corpora)
    if len(corpora) > 1:
        key = hashlib.sha256(key.encode()).hexdigest()
    path = folder / "baselines" / f"{key}-{_VERSION}.json"
    with suppress(OSError, ValueError):  # not there, or damaged: measured again
        return json.loads(path.read_bytes())
    train, validation = [], []
    for corpus in corpora:
        sample = corpus.training_sample(_MAX_TRAIN_BYTES // len(corpora))
        train += [text.encode("utf-8") for text in sample]
        validation += _first(corpus.documents("validation"), _MAX_VALIDATION_BYTES // len(corpora))
    baselines = measure(train, validation)
    replace_file(path, json.dumps(baselines).encode())
    return baselines


def _first(documents: Iterable[Document], max_bytes: int) -> Iterator[bytes]:
    taken = 0
    for document in documents:
        text = document.text.encode("utf-8")[: max_bytes - taken]
        yield text
        taken += len(text)
        if taken >= max_bytes:
            return


def measure(train: list[bytes], validation: list[bytes]) -> dict[str, float]:
    """The same for documents at hand, as bytes; without any to train on there is no 5-gram."""
    joined = b"".join(validation)
    baselines = {"xz -9": 8 * len(lzma.compress(joined, preset=9)) / len(joined)}
    if train:
        baselines["byte 5-gram"] = ByteNgram(train).bits_per_byte(validation)
    return baselines
