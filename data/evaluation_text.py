"""The text on which a trained model is measured: what its run held out, or any other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from data import catalog, training_data
from data.batches.batch import border_ids
from data.batches.rows import TokenWindows
from data.batches.sizes import BatchSizes
from data.batches.sliding import EvaluationRows, SlidingWindows
from data.config import Data, Files, Mixture, Packing, PaperMixture, Source, Task, leaves
from data.errors import DataConfigError, DataError
from data.storage import cache_folder
from data.text import baselines
from data.text.corpus import Weighted, text_digest, text_fingerprint
from data.text.files import Document, TextFiles
from data.tokens.encoding import encode_document
from data.training_data import Report
from data.vocabularies.vocabulary import Vocabulary

_OTHER_TEXT = (
    "this is not the text that the checkpoint's run read, or it has changed since: the result "
    "cannot be compared with that run's validation loss"
)


@dataclass(frozen=True, eq=False)
class EvaluationText:
    """A text to measure a model on."""

    source: str
    """The source of the text, in words."""
    rows: EvaluationRows
    """The tokens. Every token but each document's BOS is predicted once; without a mask between
    documents, every token but the first."""
    packing: Packing
    """The way documents fill the rows: the run's own, but of files none is kept whole."""
    num_bytes: int
    """UTF-8 bytes of the text."""
    baselines: dict[str, float]
    """Bits per byte to beat on the text, by name; see `data.text.baselines`."""
    warning: str | None
    """A reason not to take the result at face value; None if there is none."""

    def first_tokens(self, max_tokens: int, vocabulary: Vocabulary) -> "EvaluationText":
        """Return the text cut after `max_tokens` predictions, with the baselines of the whole text.

        Raises DataConfigError for a mixture and for documents that are kept whole: neither can be
        cut after a number of tokens.
        """
        if not isinstance(self.rows, TokenWindows):
            raise DataConfigError(
                f"--max-tokens={max_tokens} needs text of one source, end to end; leave it out"
            )
        tokens = self.rows.tokens[: max_tokens + 1]
        if len(tokens) == len(self.rows.tokens):
            return self
        # The decoder gives only whole characters, so one that is cut in two does not count.
        decoder = vocabulary.stream_decoder()
        return replace(
            self,
            source=f"the first {max_tokens:,} tokens of {self.source}",
            rows=replace(self.rows, tokens=tokens),
            num_bytes=sum(len(decoder.feed(i).encode()) for i in tokens.tolist()),
        )

    def with_stride(self, stride: int) -> "EvaluationText":
        """Return the text in windows that move by `stride` tokens; see `SlidingWindows`."""
        return replace(self, rows=SlidingWindows.over(self.rows, stride))


def load(
    trained_with: Data,
    trained_on: Mapping[str, str | int],
    *,
    source: Source | None,
    cache_dir: str | None,
    vocabulary: Vocabulary,
    seq_len: int,
    batch_size: int,
    report: Report,
) -> EvaluationText:
    """Load the held-out part of the run's own text or of another source, or all text of files.

    Raises DataConfigError and DataError as `data.training_data.load` does.

    Args:
      trained_with: the settings of the checkpoint's run, whose text may no longer exist.
      trained_on: the fingerprint of that run's `TrainingData`; empty if there is none.
      source: the text to read instead of the run's own; all of it if it is files.
      cache_dir: the cache; None: that of the run.
      vocabulary: the checkpoint's.
      seq_len: predictions in a row.
      batch_size: rows of a batch over all hosts.
      report: takes a line of progress.
    """
    # The vocabulary is the checkpoint's; the file that it once came from may be gone.
    trained_with = replace(trained_with, vocabulary=None)
    if cache_dir is not None:
        trained_with = replace(trained_with, cache_dir=cache_dir)
    match source:
        case None:
            config = trained_with
        case Files():
            return _whole_files(
                source, trained_with, trained_on, vocabulary, seq_len, batch_size, report
            )
        case Task() | Mixture() | PaperMixture():
            streaming = trained_with.streaming and _can_be_streamed(source)
            config = replace(trained_with, source=source, streaming=streaming)
        case _:
            assert_never(source)
    data = training_data.load(
        config,
        vocab_size=vocabulary.size,
        seq_len=seq_len,
        sizes=BatchSizes.constant(batch_size),
        vocabulary=vocabulary,
        report=report,
    )
    expected = source is not None or _same_text(data.fingerprint, trained_on)
    return EvaluationText(
        source=f"the held-out part of {config.source.setting}",
        rows=data.validation,
        packing=config.packing,
        num_bytes=data.num_validation_bytes,
        baselines=data.baselines(),
        warning=None if expected else _OTHER_TEXT,
    )


def _can_be_streamed(source: Source) -> bool:
    """Return whether `source` may be streamed: neither installed text nor files may."""
    return all(
        isinstance(leaf, PaperMixture)
        or (isinstance(leaf, Task) and leaf.name not in catalog.INSTALLED)
        for leaf in leaves(source)
    )


def _whole_files(
    files: Files,
    trained_with: Data,
    trained_on: Mapping[str, str | int],
    vocabulary: Vocabulary,
    seq_len: int,
    batch_size: int,
    report: Report,
) -> EvaluationText:
    """Return all text of the files that match a glob."""
    documents = [document for document in TextFiles.matching(files).documents([]) if document.text]
    if not documents:
        raise DataError(f"{files.setting} has no text: every file that it matches is empty")
    texts = [vocabulary.as_decoded(document.text).encode("utf-8") for document in documents]
    num_bytes = sum(map(len, texts))
    report(
        f"text: {files.setting}, {len(documents):,} documents and {num_bytes / 1e6:.2f} MB, all of "
        "it to evaluate"
    )
    corpora = _training_corpora(trained_with, trained_on)
    if not corpora:
        report("no byte 5-gram: the text that the checkpoint's run was trained on is not here")
    elif trained_with.streaming:
        report("the run's text was streamed: it is not searched for what is evaluated here")
    # A 5-gram of the text as it is would know nothing of a text that the vocabulary has changed.
    compared = [corpus for corpus, _ in corpora if vocabulary.keeps_text]
    train = baselines.training_sample(compared)
    ids = [encode_document(vocabulary, document.text) for document in documents]
    packing = "split" if trained_with.packing == "whole" else trained_with.packing
    return EvaluationText(
        source=f"all of {files.setting}",
        rows=TokenWindows(
            np.concatenate(ids),
            seq_len,
            BatchSizes.constant(batch_size),
            seed=0,
            **border_ids(packing, vocabulary),
        ),
        packing=packing,
        num_bytes=num_bytes,
        baselines=baselines.measure(train, texts),
        warning=None if trained_with.streaming else _seen_in_training(documents, corpora),
    )


def _training_corpora(config: Data, fingerprint: Mapping[str, str | int]) -> Weighted:
    """Return the corpora that the run trained on; none if their text is missing or has changed."""
    try:
        corpora = catalog.find(config, cache_folder(config.cache_dir))
    except DataError:
        return []
    return corpora if _same_text(text_fingerprint(corpora), fingerprint) else []


def _same_text(one: Mapping[str, str | int], other: Mapping[str, str | int]) -> bool:
    def corpora(fingerprint: Mapping[str, str | int]) -> dict[str, str | int]:
        return {key: value for key, value in fingerprint.items() if key.startswith("corpus")}

    return corpora(one) == corpora(other)


def _seen_in_training(documents: Sequence[Document], corpora: Weighted) -> str | None:
    """Return a warning if the run trained on any of the documents, or on all but a held-out end."""
    digests = {text_digest(document.text) for document in documents}
    text_by_name = {document.name: document.text for document in documents}
    num_seen = 0
    for corpus, _ in corpora:
        for trained in corpus.documents("train"):
            same = text_digest(trained.text) in digests
            num_seen += same or text_by_name.get(trained.name, "").startswith(trained.text)
    if not num_seen:
        return None
    return (
        f"the model was trained on {num_seen} of these {len(documents)} documents; without "
        "--data.files only what its run held out is evaluated"
    )
