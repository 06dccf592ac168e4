"""Text to measure a trained model on: what its run held out, or any other."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from data import training_data
from data.baselines import cached_baselines
from data.config import Data
from data.corpus import Corpus, Document, num_bytes, read_corpus, read_files
from data.errors import DataConfigError, DataError
from data.pipeline import TokenWindows
from data.storage import cache_folder
from data.vocabularies import Vocabulary

_OTHER_TEXT = (
    "this is not the text that the checkpoint's run read, or it has changed since: the result cannot "
    "be compared with that run's validation loss"
)


@dataclass(frozen=True, eq=False)
class EvaluationText:
    """What a model is measured on.

    Attributes:
      source: where the text comes from, in words.
      windows: its tokens; every token but each document's BOS is predicted once.
      num_bytes: its UTF-8 bytes.
      baselines: bits per byte to beat on it, by name; see `data.baselines`.
      warning: why the result is not what it may seem; None if all is well.
    """

    source: str
    windows: TokenWindows
    num_bytes: int
    baselines: dict[str, float]
    warning: str | None

    def first_tokens(self, max_tokens: int, vocabulary: Vocabulary) -> "EvaluationText":
        """The text cut after `max_tokens` predictions; the baselines stay those of the whole."""
        tokens = self.windows.tokens[: max_tokens + 1]
        if len(tokens) == len(self.windows.tokens):
            return self
        decoder = vocabulary.stream_decoder()  # whole characters: one cut in two does not count
        num_bytes = sum(len(decoder.feed(i).encode()) for i in tokens.tolist())
        return replace(
            self,
            source=f"the first {max_tokens:,} tokens of {self.source}",
            windows=replace(self.windows, tokens=tokens),
            num_bytes=num_bytes,
        )


def load(
    trained_with: Data,
    trained_on: Mapping[str, str | int],
    *,
    task: str | None,
    files: str | None,
    cache_dir: str | None,
    vocabulary: Vocabulary,
    seq_len: int,
    batch_size: int,
    report: Callable[[str], None],
) -> EvaluationText:
    """The validation split of the run's own text or of a task, or all the text of some files.

    Args:
      trained_with: which text the checkpoint's run read; it may no longer be there.
      trained_on: the fingerprint of that run's `TrainingData`; empty if there is none.
      task: a task that is read instead; at most one of `task` and `files` is given.
      files: a glob of text that is read instead. Nothing of it is split off.
      cache_dir: where to cache; None is where the run did.
      vocabulary: the checkpoint's.
      seq_len: predictions in a row.
      batch_size: rows of a batch over all hosts.
      report: takes a line of progress.

    Raises:
      DataConfigError, DataError: as `data.training_data.load`.
    """
    if cache_dir is not None:
        trained_with = replace(trained_with, cache_dir=cache_dir)
    if files is not None:
        train = _training_documents(trained_with, trained_on)
        if not train:
            report("no byte 5-gram: the text that the checkpoint's run was trained on is not here")
        corpus = Corpus(f"data.files={files!r}", train, _documents(files))
        tokens = _encoded(corpus.validation, vocabulary)
        report(
            f"text: {corpus.source}, {len(corpus.validation):,} documents and "
            f"{num_bytes(corpus.validation) / 1e6:.2f} MB, all of it to evaluate"
        )
        return EvaluationText(
            source=f"all of {corpus.source}",
            windows=TokenWindows(tokens, seq_len, batch_size, seed=0),
            num_bytes=num_bytes(corpus.validation),
            baselines=cached_baselines(corpus, cache_folder(trained_with.cache_dir)),
            warning=_seen_in_training(corpus),
        )
    config = trained_with if task is None else replace(trained_with, task=task, files=None)
    data = training_data.load(
        config,
        vocab_size=vocabulary.size,
        seq_len=seq_len,
        batch_size=batch_size,
        vocabulary=vocabulary,
        report=report,
    )
    expected = task is not None or data.fingerprint["corpus"] == trained_on.get("corpus")
    return EvaluationText(
        source=f"the held-out part of {_name(config)}",
        windows=data.validation,
        num_bytes=data.num_validation_bytes,
        baselines=data.baselines(),
        warning=None if expected else _OTHER_TEXT,
    )


def _documents(pattern: str) -> tuple[Document, ...]:
    """The documents of the files that match a glob, in the order of their names."""
    documents = sorted((d for d in read_files(pattern) if d.text), key=lambda d: d.name)
    if not documents:
        raise DataError(f"data.files={pattern!r} has no text: every file that it matches is empty.")
    return tuple(documents)


def _training_documents(config: Data, fingerprint: Mapping[str, str | int]) -> tuple[Document, ...]:
    """What the run was trained on; () if that is not on this machine any more."""
    try:
        corpus = read_corpus(config)
    except (DataConfigError, DataError):
        return ()
    return corpus.train if corpus.fingerprint == fingerprint.get("corpus") else ()


def _seen_in_training(corpus: Corpus) -> str | None:
    """What to say of documents that, whole or but for a held-out end, are among the training's."""
    texts = {document.text for document in corpus.train}
    beginnings = {document.name: document.text for document in corpus.train}
    seen = [
        d
        for d in corpus.validation
        if d.text in texts or (d.name in beginnings and d.text.startswith(beginnings[d.name]))
    ]
    if not seen:
        return None
    return (
        f"the model was trained on {len(seen)} of these {len(corpus.validation)} documents; without "
        "--data.files only what its run held out is evaluated"
    )


def _encoded(documents: Iterable[Document], vocabulary: Vocabulary) -> np.ndarray:
    """[num_tokens] uint32: each document's ids between its marks, as the seqio task lays them out."""
    ids = [
        np.array([*vocabulary.start, *vocabulary.encode(d.text), *vocabulary.end], np.uint32)
        for d in documents
    ]
    return np.concatenate(ids)


def _name(config: Data) -> str:
    return f"data.task={config.task!r}" if config.files is None else f"data.files={config.files!r}"
