"""The front door: from a configuration to batches."""

import functools
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data import catalog
from data.batches.batch import ALL, Batches
from data.batches.mixture import Mixture, MixtureSchedule
from data.batches.readers import ComputedReader, Reader
from data.batches.rows import Rows, make_rows
from data.batches.streaming import Stream
from data.config import Data
from data.errors import DataConfigError, DataError
from data.storage import cache_folder
from data.text.baselines import cached_baselines
from data.text.corpus import Corpus, SavedFiles, Shard, Weighted
from data.text.survey import SPLITS, Split
from data.tokens import cache as token_cache
from data.tokens.cache import Encoded, TokenSplit
from data.tokens.encoding import encode_documents, num_cores
from data.vocabularies.files import read_vocabulary
from data.vocabularies.lossless import cached_vocabulary
from data.vocabularies.vocabulary import Vocabulary

# Of a larger corpus an even sample is enough to train a vocabulary: BPE takes 0.2 s and 15 MB of
# memory a megabyte.
MAX_VOCABULARY_BYTES = 100_000_000
# Of a stream its beginning: four seconds of training.
_MAX_STREAMED_VOCABULARY_BYTES = 20_000_000

_PROGRESS_EVERY_S = 10.0

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run reads.

    Attributes:
      vocabulary: its size may be below the model's, never above.
      train: training batches, by their number or streamed.
      validation: evaluation batches; the same configuration as `train`.
      num_validation_tokens: of the validation split, each document's BOS and EOS included.
      num_validation_bytes: UTF-8 bytes of the validation text, for bits per byte.
      opening: the first tokens of the validation split.
      fingerprint: what the batches depend on. A resumed run must find it unchanged.
    """

    vocabulary: Vocabulary
    train: Batches | Stream
    validation: Batches
    num_validation_tokens: int
    num_validation_bytes: int
    opening: list[int]
    fingerprint: dict[str, str | int]
    _rows: slice
    _corpora: Weighted
    _cache_folder: Path

    def read_from(self, first_step: int, state: SavedFiles | None, report: Report) -> Reader:
        """Reads training batches from `first_step` on.

        Args:
          state: what a reader of the same fingerprint gave at that step; None if there is none: a
            stream then begins anew.
          report: takes a line that says what a stream means.

        Raises:
          DataError: a stream cannot be read, or cannot go on from `state`.
        """
        if isinstance(self.train, Stream):
            report(self.train.describe())
            return self.train.read_from(first_step, state)
        return ComputedReader(self.train, self._rows)

    def baselines(self) -> dict[str, float]:
        """Bits per byte to beat on the validation text, by name; see `data.text.baselines`.

        2 s the first time, mostly outside Python's lock, so it can run beside the training. Of a
        mixture, those of its sources in proportion to their validation bytes.
        """
        return cached_baselines([corpus for corpus, _ in self._corpora], self._cache_folder)


def load(
    config: Data,
    *,
    vocab_size: int,
    seq_len: int,
    batch_size: int,
    rows: slice = ALL,
    vocabulary: Vocabulary | None = None,
    report: Report,
) -> TrainingData:
    """Reads the text, and trains the vocabulary and encodes the text unless that was done before.

    Args:
      config: which text.
      vocab_size: pieces of the vocabulary to train; what the model has room for.
      seq_len: predictions in a row.
      batch_size: rows of a training batch over all hosts.
      rows: which of them this host reads.
      vocabulary: a checkpoint's, used instead of one trained on this text.
      report: takes a line of progress.

    Raises:
      DataConfigError: a task, a module, a rate, or a vocabulary size that is not possible.
      DataError: text or a cache that cannot be read or written, or too little text.
    """
    folder = cache_folder(config.cache_dir)
    corpora = read_corpora(config, folder, report)
    if vocabulary is None:
        vocabulary = find_vocabulary(config, corpora, vocab_size, folder, report)
    elif config.vocabulary and _differs(read_vocabulary(config.vocabulary), vocabulary):
        raise DataConfigError(
            f"data.vocabulary={config.vocabulary!r} is not the vocabulary that the model has learned. "
            "Leave it out, or start a new run."
        )
    if vocabulary.size > vocab_size:
        raise DataConfigError(
            f"model.vocab_size={vocab_size} has no room for the {vocabulary.size} pieces of the "
            f"given vocabulary. Set it to at least {vocabulary.size}."
        )
    cached: Sequence[Split] = ("validation",) if config.streaming else SPLITS
    encoded = [encode(corpus, vocabulary, folder, report, cached) for corpus, _ in corpora]
    made: dict[Split, list[Rows]] = {split: [] for split in cached}
    for (corpus, _), splits in zip(corpora, encoded, strict=True):
        for split in cached:
            _check_length(corpus, split, splits[split], seq_len)
            made[split].append(
                make_rows(config, splits[split], vocabulary, seq_len, batch_size, len(made[split]))
            )
    if config.packing == "whole":
        padding = sum(r.padding * len(r) for r in made["train"]) / sum(map(len, made["train"]))
        report(f"documents are kept whole: {padding:.1%} of the training rows is padding")
    fingerprint: dict[str, str | int] = {
        **text_fingerprint(corpora),
        "vocabulary": vocabulary.fingerprint,
        "seq_len": seq_len,
        "batch_size": batch_size,
        "packing": config.packing,
        "seed": config.seed,
    }
    if config.streaming:
        train = Stream(
            {corpus.name: corpus for corpus, _ in corpora},
            MixtureSchedule(tuple(share for _, share in corpora)),
            Shard.of_rows(rows, batch_size),
            vocabulary,
            seq_len,
            batch_size,
            config.seed,
        )
        fingerprint |= train.fingerprint
    else:
        train = _mixed(corpora, made["train"])
    held_out = [splits["validation"] for splits in encoded]
    return TrainingData(
        vocabulary=vocabulary,
        train=train,
        validation=_mixed(corpora, made["validation"]),
        num_validation_tokens=sum(len(split.tokens) for split in held_out),
        num_validation_bytes=sum(split.num_bytes for split in held_out),
        opening=held_out[0].tokens[:8].tolist(),
        fingerprint=fingerprint,
        _rows=rows,
        _corpora=corpora,
        _cache_folder=folder,
    )


def read_corpora(config: Data, folder: Path, report: Report) -> Weighted:
    """The text that `config` names; see `data.catalog.find`.

    Raises DataConfigError, besides, if it is to be streamed and cannot be.
    """
    corpora = catalog.find(config, folder)
    if config.streaming:
        _check_streaming(config, corpora)
    for corpus, share in corpora:
        of_batch = f", {float(share):.1%} of every batch" if len(corpora) > 1 else ""
        report(f"text: {corpus.source}, {corpus.describe()}{of_batch}")
    return corpora


def find_vocabulary(
    config: Data, corpora: Weighted, size: int, folder: Path, report: Report
) -> Vocabulary:
    """The one that `config` names, or one trained on the text. Raises as `load` does."""
    if config.vocabulary is not None:
        return read_vocabulary(config.vocabulary)
    max_bytes = _MAX_STREAMED_VOCABULARY_BYTES if config.streaming else MAX_VOCABULARY_BYTES
    key = json.dumps([max_bytes, text_fingerprint(corpora)])
    return cached_vocabulary(training_sample(corpora, max_bytes), key, size, folder, report)


def training_sample(corpora: Weighted, max_bytes: int = MAX_VOCABULARY_BYTES) -> Iterator[str]:
    """Training texts for a vocabulary: of each source its share of `max_bytes`."""
    for corpus, share in corpora:
        yield from corpus.training_sample(int(max_bytes * share))


def _check_streaming(config: Data, corpora: Weighted) -> None:
    for corpus, _ in corpora:
        corpus.streamed()
    if config.packing != "split":
        raise DataConfigError(
            f"data.packing={config.packing!r} plans its rows on a token cache, and data.streaming has "
            "none. Leave out one of them."
        )


def encode(
    corpus: Corpus,
    vocabulary: Vocabulary,
    folder: Path,
    report: Report,
    wanted: Sequence[Split] = SPLITS,
) -> dict[Split, TokenSplit]:
    """The token cache of the `wanted` splits of `corpus`, built if it is not there.

    Raises DataError as `load` does.
    """
    name = corpus.fingerprint if wanted == SPLITS else f"{'+'.join(wanted)} of {corpus.fingerprint}"
    made_from = {"corpus": name, "vocabulary": vocabulary.fingerprint}
    path = token_cache.cache_path(folder, **made_from)
    try:
        return token_cache.read(path)
    except FileNotFoundError:
        pass
    start_s = time.monotonic()

    def encoded(split: Split, skipped: int) -> Iterator[Encoded]:
        texts = itertools.islice(corpus.texts(split), skipped, None)
        return _encoded(split, texts, vocabulary, report)

    token_cache.build(
        path,
        # The held-out text first: it is short, and a mistake in it shows at once.
        {split: functools.partial(encoded, split) for split in reversed(SPLITS) if split in wanted},
        vocab_size=vocabulary.size,
        **made_from,
        report=report,
    )
    splits = token_cache.read(path)
    sizes = " and ".join(f"{len(splits[split].tokens):,}" for split in wanted)
    what = "the text" if wanted == SPLITS else f"its {' and '.join(wanted)} split"
    report(f"encoded {what} as {sizes} tokens in {time.monotonic() - start_s:.1f} s")
    return splits


def _encoded(
    split: Split, texts: Iterator[str], vocabulary: Vocabulary, report: Report
) -> Iterator[Encoded]:
    """The documents' ids and sizes, with a line of progress now and then."""
    texts, sized = itertools.tee(texts)
    sizes = (len(text.encode("utf-8")) for text in sized)
    start_s = shown_s = time.monotonic()
    total_tokens = total_bytes = 0
    for ids in encode_documents(texts, vocabulary, num_cores()):
        num_bytes = next(sizes)
        total_tokens, total_bytes = total_tokens + len(ids), total_bytes + num_bytes
        if time.monotonic() - shown_s > _PROGRESS_EVERY_S:
            shown_s = time.monotonic()
            report(
                f"encoding the {split} text: {total_bytes / 1e6:,.0f} MB, {total_tokens:,} tokens, "
                f"{total_bytes / 1e6 / (shown_s - start_s):.1f} MB/s"
            )
        yield ids, num_bytes


def _check_length(corpus: Corpus, split: Split, encoded: TokenSplit, seq_len: int) -> None:
    if len(encoded.tokens) <= seq_len:
        raise DataError(
            f"The {split} text of {corpus.source} has {len(encoded.tokens):,} tokens, but one "
            f"sequence needs seq_len + 1 = {seq_len + 1:,}. Add text, or lower --seq-len."
        )


def _mixed(corpora: Weighted, rows: list[Rows]) -> Batches:
    if len(rows) == 1:
        return rows[0]
    names = [corpus.name for corpus, _ in corpora]
    return Mixture(dict(zip(names, rows, strict=True)), tuple(share for _, share in corpora))


def _differs(one: Vocabulary, other: Vocabulary) -> bool:
    return one.fingerprint != other.fingerprint


def text_fingerprint(corpora: Weighted) -> dict[str, str | int]:
    """Of one corpus its fingerprint; of several one each, with the share."""
    if len(corpora) == 1:
        return {"corpus": corpora[0][0].fingerprint}
    return {f"corpus {corpus.name}": f"{corpus.fingerprint} {share}" for corpus, share in corpora}
