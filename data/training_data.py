"""The entry point of `data`: from a run's settings to its batches."""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data import catalog
from data.batches.batch import ALL, Batches
from data.batches.mixture import Mixture, MixtureSchedule
from data.batches.readers import ComputedReader, Reader
from data.batches.rows import Rows, make_rows
from data.batches.sizes import BatchSizes
from data.batches.streaming import Stream
from data.config import Data
from data.errors import DataConfigError, DataError
from data.run_vocabulary import check_same_vocabulary, find_vocabulary
from data.storage import cache_folder
from data.text.baselines import ChangedText, cached_baselines
from data.text.corpus import Corpus, SavedFiles, Shard, Weighted, text_fingerprint
from data.text.survey import SPLITS, Split
from data.tokens import cache as token_cache
from data.tokens.cache import Encoded, TokenSplit
from data.tokens.encoding import encode_documents, encoding_fingerprint, num_cores
from data.vocabularies.vocabulary import Vocabulary

_PROGRESS_EVERY_S = 10.0

Report = Callable[[str], None]
"""A function that shows a line of progress."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The vocabulary and the batches of a run."""

    vocabulary: Vocabulary
    """Its size may be below the model's, never above."""
    train: Batches | Stream
    """The training batches, by their number or streamed."""
    validation: Batches
    """The evaluation batches, made with the same settings as `train`."""
    num_validation_tokens: int
    """Tokens of the validation split, each document's BOS and EOS included."""
    num_validation_bytes: int
    """UTF-8 bytes of the validation text, for bits per byte."""
    opening: list[int]
    """The first tokens of the validation split."""
    fingerprint: dict[str, str | int]
    """Everything that the batches depend on. It must be the same when the run is resumed."""
    _corpora: Weighted
    _cache_folder: Path

    def read_from(self, first_step: int, state: SavedFiles | None, report: Report) -> Reader:
        """Return a reader of the training batches from `first_step` on.

        Raises DataError if a stream cannot be read, or cannot resume from `state`.

        Args:
          state: saved at that step by a reader with this fingerprint; None: a stream starts over.
          report: takes a line that explains the stream.
        """
        if isinstance(self.train, Stream):
            report(self.train.describe())
            return self.train.read_from(first_step, state)
        return ComputedReader(self.train)

    def baselines(self) -> dict[str, float]:
        """Return the bits per byte to beat on the validation text, by name.

        Measuring them takes 2 s the first time. For a mixture they are the mean over its sources,
        weighted by validation bytes. If the vocabulary changes text, they are measured on the
        changed text, as the model is. See `data.text.baselines`.
        """
        corpora = [corpus for corpus, _ in self._corpora]
        if self.vocabulary.keeps_text:
            return cached_baselines(corpora, self._cache_folder)
        changed = ChangedText(self.vocabulary.as_decoded, self.vocabulary.fingerprint)
        return cached_baselines(corpora, self._cache_folder, changed)


def load(
    config: Data,
    *,
    vocab_size: int,
    seq_len: int,
    sizes: BatchSizes,
    rows: slice = ALL,
    vocabulary: Vocabulary | None = None,
    report: Report,
) -> TrainingData:
    """Read the text; train the vocabulary and encode the text, unless both are in the cache.

    Raises DataConfigError for an impossible task, module, rate or vocabulary size, and DataError
    for text or a cache that cannot be read or written, or too little text.

    Args:
      vocab_size: tokens of the vocabulary to train: as many as the model has room for.
      seq_len: predictions in a row.
      sizes: rows of every training batch over all hosts.
      rows: the rows of the largest batch that this host reads.
      vocabulary: that of a checkpoint, to use instead of one trained on this text.
      report: takes a line of progress.
    """
    folder = cache_folder(config.cache_dir)
    corpora = read_corpora(config, folder, report)
    if vocabulary is None:
        vocabulary = find_vocabulary(config, corpora, vocab_size, folder, report)
    elif config.vocabulary:
        check_same_vocabulary(config.vocabulary, vocabulary)
    if vocabulary.size > vocab_size:
        raise DataConfigError(
            f"model.vocab_size={vocab_size} has no room for the {vocabulary.size} tokens of the "
            f"given vocabulary; set it to at least {vocabulary.size}"
        )
    cached: Sequence[Split] = ("validation",) if config.streaming else SPLITS
    encoded = [encode(corpus, vocabulary, folder, report, cached) for corpus, _ in corpora]
    if not vocabulary.keeps_text:
        report(
            "the vocabulary changes the text: bits per byte, and the numbers to beat, count the "
            "bytes of the text as its tokens spell it, and cannot be compared with other styles'"
        )
    rows_of: dict[Split, list[Rows]] = {split: [] for split in cached}
    for number, ((corpus, _), splits) in enumerate(zip(corpora, encoded, strict=True)):
        for split in cached:
            _check_length(corpus, split, splits[split], seq_len)
            rows_of[split].append(
                make_rows(config, splits[split], vocabulary, seq_len, sizes, number)
            )
    if config.packing == "whole":
        train_rows = rows_of["train"]
        padding = sum(r.padding * len(r) for r in train_rows) / sum(map(len, train_rows))
        report(f"documents are kept whole: {padding:.1%} of the training rows is padding")
    if config.packing == "unmasked" or not vocabulary.separates_documents:
        report("documents follow one another without a mask: a token sees those before its own too")
    fingerprint: dict[str, str | int] = {
        **text_fingerprint(corpora),
        "vocabulary": encoding_fingerprint(vocabulary),
        "seq_len": seq_len,
        "batch_size": sizes.largest,
        "packing": config.packing,
        "seed": config.seed,
    }
    if config.streaming:
        train = Stream(
            {corpus.name: corpus for corpus, _ in corpora},
            MixtureSchedule(tuple(share for _, share in corpora)),
            Shard.of_rows(rows, sizes.largest),
            vocabulary,
            seq_len,
            sizes,
            config.seed,
            config.packing,
        )
        fingerprint |= train.fingerprint
    else:
        train = _mix_sources(corpora, rows_of["train"])
    held_out = [splits["validation"] for splits in encoded]
    return TrainingData(
        vocabulary=vocabulary,
        train=train,
        validation=_mix_sources(corpora, rows_of["validation"]),
        num_validation_tokens=sum(len(split.tokens) for split in held_out),
        num_validation_bytes=sum(split.num_bytes for split in held_out),
        opening=held_out[0].tokens[:64].tolist(),
        fingerprint=fingerprint,
        _corpora=corpora,
        _cache_folder=folder,
    )


def read_corpora(config: Data, folder: Path, report: Report) -> Weighted:
    """Return the corpora of `config.source` and report what they are.

    Raises as `data.catalog.find` does, and DataConfigError if the config asks to stream a corpus
    that cannot be streamed.
    """
    for note in catalog.notes(config.source):
        report(note)
    corpora = catalog.find(config, folder)
    if config.streaming:
        _check_streaming(config, corpora)
    for corpus, share in corpora:
        batch_share = f", {float(share):.1%} of every batch" if len(corpora) > 1 else ""
        report(f"text: {corpus.source}, {corpus.describe()}{batch_share}")
    return corpora


def _check_streaming(config: Data, corpora: Weighted) -> None:
    for corpus, _ in corpora:
        corpus.streamed()
    if config.packing == "whole":
        raise DataConfigError(
            f"data.packing={config.packing!r} plans its rows on a token cache, and data.streaming "
            "has none; leave out one of them"
        )


def encode(
    corpus: Corpus,
    vocabulary: Vocabulary,
    folder: Path,
    report: Report,
    wanted: Sequence[Split] = SPLITS,
) -> dict[Split, TokenSplit]:
    """Return the token cache of the `wanted` splits of `corpus`, built if it is missing.

    Raises DataError as `load` does.
    """
    name = corpus.fingerprint if wanted == SPLITS else f"{'+'.join(wanted)} of {corpus.fingerprint}"
    if not vocabulary.keeps_text:
        name = f"{name}, bytes as decoded"  # earlier versions counted those of the text
    inputs = {"corpus": name, "vocabulary": encoding_fingerprint(vocabulary)}
    path = token_cache.cache_path(folder, **inputs)
    try:
        return token_cache.read(path)
    except FileNotFoundError:
        pass
    start_s = time.monotonic()

    def encode_from(split: Split, num_done: int) -> Iterator[Encoded]:
        texts = itertools.islice(corpus.texts(split), num_done, None)
        return _encode_texts(split, texts, vocabulary, report)

    token_cache.build(
        path,
        # The held-out text comes first: it is short, and a mistake in it shows at once.
        {
            split: functools.partial(encode_from, split)
            for split in reversed(SPLITS)
            if split in wanted
        },
        vocab_size=vocabulary.size,
        **inputs,
        report=report,
    )
    splits = token_cache.read(path)
    sizes = " and ".join(f"{len(splits[split].tokens):,}" for split in wanted)
    encoded_part = "the text" if wanted == SPLITS else f"its {' and '.join(wanted)} split"
    report(f"encoded {encoded_part} as {sizes} tokens in {time.monotonic() - start_s:.1f} s")
    return splits


def _encode_texts(
    split: Split, texts: Iterator[str], vocabulary: Vocabulary, report: Report
) -> Iterator[Encoded]:
    """Yield the ids and the bytes of each document, and report progress now and then."""
    texts, encoded_texts = itertools.tee(texts)
    start_s = shown_s = time.monotonic()
    total_tokens = total_bytes = 0
    for ids in encode_documents(texts, vocabulary, num_cores()):
        num_bytes = vocabulary.num_bytes(next(encoded_texts), ids.tolist())
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
            f"the {split} text of {corpus.source} has {len(encoded.tokens):,} tokens, but one "
            f"sequence needs seq_len + 1 = {seq_len + 1:,}; add text, or lower --seq-len"
        )


def _mix_sources(corpora: Weighted, rows: list[Rows]) -> Batches:
    if len(rows) == 1:
        return rows[0]
    names = [corpus.name for corpus, _ in corpora]
    return Mixture(dict(zip(names, rows, strict=True)), tuple(share for _, share in corpora))
