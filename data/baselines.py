"""What a compressor and an n-gram make of the validation text: numbers to beat."""

import json
import lzma
from contextlib import suppress
from pathlib import Path

from data.byte_ngram import ByteNgram
from data.corpus import Corpus
from data.storage import replace_file

# Raise it when the same corpus gives other numbers.
_VERSION = 1


def cached_baselines(corpus: Corpus, folder: Path) -> dict[str, float]:
    """Bits per byte of the validation documents, by a compressor and by counting.

    `xz -9` sees them as one file, and nothing else. The byte-level 5-gram is trained on the train
    documents; without any there is none. About 2 s the first time for 10 MB; kept in the cache
    `folder`.

    Raises:
      DataError: the cache cannot be written.
    """
    path = folder / "baselines" / f"{corpus.fingerprint}-{_VERSION}.json"
    with suppress(OSError, ValueError):  # not there, or damaged: measured again
        return json.loads(path.read_bytes())
    baselines = _measure(corpus)
    replace_file(path, json.dumps(baselines).encode())
    return baselines


def _measure(corpus: Corpus) -> dict[str, float]:
    train = [document.text.encode("utf-8") for document in corpus.train]
    validation = [document.text.encode("utf-8") for document in corpus.validation]
    joined = b"".join(validation)
    baselines = {"xz -9": 8 * len(lzma.compress(joined, preset=9)) / len(joined)}
    if train:
        baselines["byte 5-gram"] = ByteNgram(train).bits_per_byte(validation)
    return baselines
