"""The vocabulary of a run: the one that its settings name, or one trained on its text."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from data.config import Data
from data.errors import DataConfigError
from data.text.corpus import Weighted, text_fingerprint
from data.vocabularies.files import read_vocabulary
from data.vocabularies.styles import cached_vocabulary
from data.vocabularies.vocabulary import Vocabulary

_MAX_VOCABULARY_BYTES = 100_000_000
"""Text to train a vocabulary on by default: an even sample of a larger corpus is enough. BPE takes
0.2 s and 15 MB of memory per megabyte."""
_MAX_STREAMED_VOCABULARY_BYTES = 20_000_000
"""The same for a stream, from its beginning: four seconds of training."""


def find_vocabulary(
    config: Data, corpora: Weighted, max_size: int, folder: Path, report: Callable[[str], None]
) -> Vocabulary:
    """Return the vocabulary that `config` names, or one of its style trained on the text.

    `max_size` is the number of tokens that the model has room for. Raises DataConfigError for an
    impossible size, and DataError if the vocabulary or the text cannot be read, or the cache
    cannot be used.
    """
    if config.vocabulary is not None:
        return read_vocabulary(config.vocabulary)
    size, setting = config.vocabulary_size or max_size, "model.vocab_size"
    if config.vocabulary_size is not None:
        setting = "data.vocabulary_size"
    if size > max_size:
        raise DataConfigError(
            f"data.vocabulary_size={size} exceeds model.vocab_size={max_size}; write "
            f"--data.vocabulary-size={max_size}, or --model.vocab-size={size}"
        )
    max_bytes = num_training_bytes(config)
    key = json.dumps([max_bytes, text_fingerprint(corpora)])
    texts = training_sample(corpora, max_bytes)
    style = config.vocabulary_style
    return cached_vocabulary(texts, key, size, style, folder, report, setting)


def num_training_bytes(config: Data) -> int:
    """Return how much text a vocabulary is trained on at most."""
    if config.vocabulary_bytes is not None:
        return config.vocabulary_bytes
    return _MAX_STREAMED_VOCABULARY_BYTES if config.streaming else _MAX_VOCABULARY_BYTES


def training_sample(corpora: Weighted, max_bytes: int) -> Iterator[str]:
    """Yield training texts for a vocabulary: `max_bytes`, of which each source has its share."""
    for corpus, share in corpora:
        yield from corpus.training_sample(int(max_bytes * share))


def check_same_vocabulary(path: str, learned: Vocabulary) -> None:
    """Raise DataConfigError unless the vocabulary in `path` is the one that a model has learned."""
    if read_vocabulary(path).fingerprint != learned.fingerprint:
        raise DataConfigError(
            f"data.vocabulary={path!r} is not the vocabulary that the model has learned; leave it "
            "out, or start a new run"
        )
