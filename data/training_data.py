"""The front door: from a configuration to batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data import token_cache
from data.baselines import cached_baselines
from data.config import Data
from data.corpus import Corpus, num_bytes, read_corpus
from data.errors import DataConfigError, DataError
from data.pipeline import TokenWindows
from data.storage import cache_folder
from data.token_cache import TokenSplit
from data.vocabularies import Vocabulary, cached_vocabulary


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run reads.

    Attributes:
      vocabulary: its size may be below the model's, never above.
      train: training batches.
      validation: evaluation batches; the same configuration as `train`.
      num_validation_bytes: UTF-8 bytes of the validation text, for bits per byte.
      fingerprint: what the batches depend on. A resumed run must find it unchanged.
    """

    vocabulary: Vocabulary
    train: TokenWindows
    validation: TokenWindows
    num_validation_bytes: int
    fingerprint: dict[str, str | int]
    _corpus: Corpus
    _cache_folder: Path

    @property
    def num_train_tokens(self) -> int:
        """Tokens of the train split, each document's BOS and EOS included."""
        return len(self.train.tokens)

    @property
    def num_validation_tokens(self) -> int:
        """Tokens of the validation split, each document's BOS and EOS included."""
        return len(self.validation.tokens)

    def baselines(self) -> dict[str, float]:
        """Bits per byte to beat on the validation text, by name; see `data.baselines`.

        2 s the first time, mostly outside Python's lock, so it can run beside the training.
        """
        return cached_baselines(self._corpus, self._cache_folder)


def load(
    config: Data,
    *,
    vocab_size: int,
    seq_len: int,
    batch_size: int,
    vocabulary: Vocabulary | None = None,
    report: Callable[[str], None],
) -> TrainingData:
    """Reads the text, and trains the vocabulary and encodes the text unless that was done before.

    Args:
      config: which text.
      vocab_size: pieces of the vocabulary to train; what the model has room for.
      seq_len: predictions in a row.
      batch_size: rows of a training batch over all hosts.
      vocabulary: a checkpoint's, used instead of one trained on this text.
      report: takes a line of progress.

    Raises:
      DataConfigError: an unknown task, or a vocabulary size that the text or a given vocabulary
        does not allow.
      DataError: text or a cache that cannot be read or written, or too little text.
    """
    folder = cache_folder(config.cache_dir)
    corpus = read_corpus(config)
    train_bytes, validation_bytes = num_bytes(corpus.train), num_bytes(corpus.validation)
    report(
        f"text: {corpus.source}, {len(corpus.train):,} documents and {train_bytes / 1e6:.1f} MB to "
        f"train on, {len(corpus.validation):,} and {validation_bytes / 1e6:.2f} MB held out"
    )
    if vocabulary is None:
        texts = [document.text for document in corpus.train]
        vocabulary = cached_vocabulary(texts, vocab_size, folder, report)
    if vocabulary.size > vocab_size:
        raise DataConfigError(
            f"model.vocab_size={vocab_size} has no room for the {vocabulary.size} pieces of the "
            f"given vocabulary. Set it to at least {vocabulary.size}."
        )
    task_name = config.task if config.files is None else "files"
    splits = _encoded(task_name, corpus, vocabulary, folder, report)
    for split, encoded in splits.items():
        if len(encoded.tokens) <= seq_len:
            raise DataError(
                f"The {split} text of {corpus.source} has {len(encoded.tokens):,} tokens, but one "
                f"sequence needs seq_len + 1 = {seq_len + 1:,}. Add text, or lower --seq-len."
            )
    train, validation = (
        TokenWindows(
            splits[split].tokens,
            seq_len,
            batch_size,
            config.seed,
            vocabulary.bos_id,
            vocabulary.eos_id,
        )
        for split in ("train", "validation")
    )
    return TrainingData(
        vocabulary=vocabulary,
        train=train,
        validation=validation,
        num_validation_bytes=splits["validation"].num_bytes,
        fingerprint={
            "corpus": corpus.fingerprint,
            "vocabulary": vocabulary.fingerprint,
            "seq_len": seq_len,
            "batch_size": batch_size,
            "seed": config.seed,
        },
        _corpus=corpus,
        _cache_folder=folder,
    )


def _encoded(
    name: str,
    corpus: Corpus,
    vocabulary: Vocabulary,
    folder: Path,
    report: Callable[[str], None],
) -> dict[str, TokenSplit]:
    """The token cache of `corpus`; if it is not there, built by the seqio task `name`."""
    path = token_cache.cache_path(
        folder, corpus=corpus.fingerprint, vocabulary=vocabulary.fingerprint
    )
    try:
        return token_cache.read(path)
    except FileNotFoundError:
        pass
    start_s = time.monotonic()
    from data import tasks  # imports TensorFlow, which a second run has no need of

    task = tasks.register(name, corpus, vocabulary)
    token_cache.write(
        path,
        {split: tasks.encoded_documents(task, split) for split in ("train", "validation")},
        num_bytes={"train": num_bytes(corpus.train), "validation": num_bytes(corpus.validation)},
        vocab_size=vocabulary.size,
        corpus=corpus.fingerprint,
        vocabulary=vocabulary.fingerprint,
    )
    splits = token_cache.read(path)
    report(
        f"encoded the text as {len(splits['train'].tokens):,} and "
        f"{len(splits['validation'].tokens):,} tokens in {time.monotonic() - start_s:.1f} s"
    )
    return splits
