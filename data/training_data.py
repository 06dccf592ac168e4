"""The front door: from a configuration to batches."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import catalog, token_cache
from data.baselines import cached_baselines
from data.catalog import Weighted
from data.config import Data
from data.corpus import Corpus
from data.encoding import encode_documents, num_cores
from data.errors import DataConfigError, DataError
from data.imported_vocabularies import read_vocabulary
from data.mixture import Mixture
from data.pipeline import Batches, PackedDocuments, Rows, TokenWindows, row_starts
from data.storage import cache_folder, replace_file
from data.survey import SPLITS, Split
from data.token_cache import Encoded, TokenSplit
from data.vocabularies import Vocabulary, cached_vocabulary

# Of a larger corpus an even sample is enough to train a vocabulary: BPE takes 0.2 s and 15 MB of
# memory a megabyte.
MAX_VOCABULARY_BYTES = 100_000_000

_PROGRESS_EVERY_S = 10.0

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run reads.

    Attributes:
      vocabulary: its size may be below the model's, never above.
      train: training batches.
      validation: evaluation batches; the same configuration as `train`.
      num_train_tokens: of the train split, each document's BOS and EOS included.
      num_validation_tokens: of the validation split, each document's BOS and EOS included.
      num_validation_bytes: UTF-8 bytes of the validation text, for bits per byte.
      opening: the first tokens of the validation split.
      fingerprint: what the batches depend on. A resumed run must find it unchanged.
    """

    vocabulary: Vocabulary
    train: Batches
    validation: Batches
    num_train_tokens: int
    num_validation_tokens: int
    num_validation_bytes: int
    opening: list[int]
    fingerprint: dict[str, str | int]
    _corpora: Weighted
    _cache_folder: Path

    def baselines(self) -> dict[str, float]:
        """Bits per byte to beat on the validation text, by name; see `data.baselines`.

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
    vocabulary: Vocabulary | None = None,
    report: Report,
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
    encoded = [encode(corpus, vocabulary, folder, report) for corpus, _ in corpora]
    rows: dict[Split, list[Rows]] = {split: [] for split in SPLITS}
    for (corpus, _), splits in zip(corpora, encoded, strict=True):
        for split in SPLITS:
            _check_length(corpus, split, splits[split], seq_len)
            rows[split].append(
                make_rows(config, splits[split], vocabulary, seq_len, batch_size, len(rows[split]))
            )
    if config.packing == "whole":
        padding = sum(r.padding * len(r) for r in rows["train"]) / sum(map(len, rows["train"]))
        report(f"documents are kept whole: {padding:.1%} of the training rows is padding")
    train, validation = (_mixed(corpora, rows[split]) for split in SPLITS)
    held_out = [splits["validation"] for splits in encoded]
    return TrainingData(
        vocabulary=vocabulary,
        train=train,
        validation=validation,
        num_train_tokens=sum(len(splits["train"].tokens) for splits in encoded),
        num_validation_tokens=sum(len(split.tokens) for split in held_out),
        num_validation_bytes=sum(split.num_bytes for split in held_out),
        opening=held_out[0].tokens[:8].tolist(),
        fingerprint={
            **text_fingerprint(corpora),
            "vocabulary": vocabulary.fingerprint,
            "seq_len": seq_len,
            "batch_size": batch_size,
            "packing": config.packing,
            "seed": config.seed,
        },
        _corpora=corpora,
        _cache_folder=folder,
    )


def read_corpora(config: Data, folder: Path, report: Report) -> Weighted:
    """The text that `config` names; see `data.catalog.find`."""
    corpora = catalog.find(config, folder)
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
    key = json.dumps([MAX_VOCABULARY_BYTES, text_fingerprint(corpora)])
    return cached_vocabulary(training_sample(corpora), key, size, folder, report)


def training_sample(corpora: Weighted) -> Iterator[str]:
    """Training texts for a vocabulary: of each source its share of MAX_VOCABULARY_BYTES."""
    for corpus, share in corpora:
        yield from corpus.training_sample(int(MAX_VOCABULARY_BYTES * share))


def encode(
    corpus: Corpus, vocabulary: Vocabulary, folder: Path, report: Report
) -> dict[Split, TokenSplit]:
    """The token cache of `corpus`, built if it is not there. Raises DataError as `load` does."""
    made_from = {"corpus": corpus.fingerprint, "vocabulary": vocabulary.fingerprint}
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
        {
            "validation": lambda skipped: encoded("validation", skipped),
            "train": lambda skipped: encoded("train", skipped),
        },
        vocab_size=vocabulary.size,
        **made_from,
        report=report,
    )
    splits = token_cache.read(path)
    report(
        f"encoded the text as {len(splits['train'].tokens):,} and "
        f"{len(splits['validation'].tokens):,} tokens in {time.monotonic() - start_s:.1f} s"
    )
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


def make_rows(
    config: Data,
    split: TokenSplit,
    vocabulary: Vocabulary,
    seq_len: int,
    batch_size: int,
    source: int = 0,
) -> Rows:
    """The rows of one source. `source`: its number, so that no two have the same order."""
    ends = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}
    seed = config.seed + source * 0x9E3779B97F4A7C15
    if config.packing == "split":
        return TokenWindows(split.tokens, seq_len, batch_size, seed, **ends)
    return PackedDocuments(
        split.tokens,
        seq_len,
        batch_size,
        seed,
        **ends,
        starts=_cached_starts(split, seq_len),
        num_documents=len(split.offsets) - 1,
    )


def _cached_starts(split: TokenSplit, seq_len: int) -> np.ndarray:
    """What `row_starts` plans, memory-mapped from a file beside the offsets."""
    offsets = Path(str(split.offsets.filename))
    path = offsets.with_name(f"{offsets.stem}.rows-{seq_len}")
    for _ in range(2):
        if path.exists() and path.stat().st_size:
            starts = np.memmap(path, np.int64, mode="r")
            if starts[-1] == len(split.tokens):
                return starts
        replace_file(path, np.concatenate(list(row_starts(split.offsets, seq_len))).tobytes())
    raise DataError(f"{path} cannot be read back. Delete the folder {path.parent}.")


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
