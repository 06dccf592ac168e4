"""Text to measure a trained model on: what its run held out, or any other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data import catalog, training_data
from data.batches.batch import Batches
from data.batches.rows import TokenWindows
from data.config import Data
from data.errors import DataConfigError, DataError
from data.storage import cache_folder
from data.text import baselines
from data.text.corpus import Weighted, text_digest
from data.text.files import Document, TextFiles
from data.training_data import Report, text_fingerprint
from data.vocabularies.vocabulary import Vocabulary

_OTHER_TEXT = (
    "this is not the text that the checkpoint's run read, or it has changed since: the result cannot "
    "be compared with that run's validation loss"
)


@dataclass(frozen=True, eq=False)
class EvaluationText:
    """What a model is measured on.

    Attributes:
      source: where the text comes from, in words.
      rows: its tokens; every token but each document's BOS is predicted once.
      num_bytes: its UTF-8 bytes.
      baselines: bits per byte to beat on it, by name; see `data.text.baselines`.
      warning: why the result is not what it may seem; None if all is well.
    """

    source: str
    rows: Batches
    num_bytes: int
    baselines: dict[str, float]
    warning: str | None

    def first_tokens(self, max_tokens: int, vocabulary: Vocabulary) -> "EvaluationText":
        """The text cut after `max_tokens` predictions; the baselines stay those of the whole.

        Raises:
          DataConfigError: a mixture, or documents that are kept whole: they have no such beginning.
        """
        if not isinstance(self.rows, TokenWindows):
            raise DataConfigError(
                f"--max-tokens={max_tokens} needs text of one source, end to end. Leave it out."
            )
        tokens = self.rows.tokens[: max_tokens + 1]
        if len(tokens) == len(self.rows.tokens):
            return self
        decoder = vocabulary.stream_decoder()  # whole characters: one cut in two does not count
        return replace(
            self,
            source=f"the first {max_tokens:,} tokens of {self.source}",
            rows=replace(self.rows, tokens=tokens),
            num_bytes=sum(len(decoder.feed(i).encode()) for i in tokens.tolist()),
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
    report: Report,
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
    # The checkpoint's own vocabulary is given: that it came from a file then is of no matter.
    trained_with = replace(trained_with, vocabulary=None)
    if cache_dir is not None:
        trained_with = replace(trained_with, cache_dir=cache_dir)
    if files is not None:
        return _all_of(files, trained_with, trained_on, vocabulary, seq_len, batch_size, report)
    config = trained_with
    if task is not None:
        streaming = trained_with.streaming and task != "stdlib"  # which is cached in seconds
        config = replace(trained_with, task=task, files=None, mixture=(), streaming=streaming)
    data = training_data.load(
        config,
        vocab_size=vocabulary.size,
        seq_len=seq_len,
        batch_size=batch_size,
        vocabulary=vocabulary,
        report=report,
    )
    expected = task is not None or _same_text(data.fingerprint, trained_on)
    return EvaluationText(
        source=f"the held-out part of {_name(config)}",
        rows=data.validation,
        num_bytes=data.num_validation_bytes,
        baselines=data.baselines(),
        warning=None if expected else _OTHER_TEXT,
    )


def _all_of(
    files: str,
    trained_with: Data,
    trained_on: Mapping[str, str | int],
    vocabulary: Vocabulary,
    seq_len: int,
    batch_size: int,
    report: Report,
) -> EvaluationText:
    """All the text of the files that match a glob, read as the run read its own."""
    source = f"data.files={files!r}"
    matching = TextFiles.matching(files, trained_with).documents([])
    documents = [document for document in matching if document.text]
    if not documents:
        raise DataError(f"{source} has no text: every file that it matches is empty.")
    texts = [document.text.encode("utf-8") for document in documents]
    num_bytes = sum(map(len, texts))
    report(
        f"text: {source}, {len(documents):,} documents and {num_bytes / 1e6:.2f} MB, all of it to "
        "evaluate"
    )
    corpora = _training_corpora(trained_with, trained_on)
    if not corpora:
        report("no byte 5-gram: the text that the checkpoint's run was trained on is not here")
    elif trained_with.streaming:
        report("the run's text was streamed: it is not searched for what is evaluated here")
    train = baselines.training_sample([corpus for corpus, _ in corpora])
    ids = [
        np.array([*vocabulary.start, *vocabulary.encode(d.text), *vocabulary.end], np.uint32)
        for d in documents
    ]
    return EvaluationText(
        source=f"all of {source}",
        rows=TokenWindows(
            np.concatenate(ids),
            seq_len,
            batch_size,
            seed=0,
            bos_id=vocabulary.bos_id,
            eos_id=vocabulary.eos_id,
        ),
        num_bytes=num_bytes,
        baselines=baselines.measure(train, texts),
        warning=None if trained_with.streaming else _seen_in_training(documents, corpora),
    )


def _training_corpora(config: Data, fingerprint: Mapping[str, str | int]) -> Weighted:
    """What the run was trained on; nothing if that is not on this machine any more."""
    try:
        corpora = catalog.find(config, cache_folder(config.cache_dir))
    except (DataConfigError, DataError):
        return []
    return corpora if _same_text(text_fingerprint(corpora), fingerprint) else []


def _same_text(one: Mapping[str, str | int], other: Mapping[str, str | int]) -> bool:
    def corpora(fingerprint: Mapping[str, str | int]) -> dict[str, str | int]:
        return {key: value for key, value in fingerprint.items() if key.startswith("corpus")}

    return corpora(one) == corpora(other)


def _seen_in_training(documents: Sequence[Document], corpora: Weighted) -> str | None:
    """What to say of documents that, whole or but for a held-out end, are among the training's."""
    of_text = {text_digest(document.text) for document in documents}
    of_name = {document.name: document.text for document in documents}
    seen = 0
    for corpus, _ in corpora:
        for trained in corpus.documents("train"):
            same = text_digest(trained.text) in of_text
            seen += same or of_name.get(trained.name, "").startswith(trained.text)
    if not seen:
        return None
    return (
        f"the model was trained on {seen} of these {len(documents)} documents; without --data.files "
        "only what its run held out is evaluated"
    )


def _name(config: Data) -> str:
    if config.mixture:
        return f"data.mixture={' '.join(config.mixture)!r}"
    return f"data.task={config.task!r}" if config.files is None else f"data.files={config.files!r}"
