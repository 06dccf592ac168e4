"""An n-gram model of tokens in a folder: counted, written, read, sampled from and evaluated.

It has the interface of `zoo.inference.language_model` as far as counting goes, so that its text and
its bits per byte stand beside those of a transformer.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data import evaluation_text
from data.batches.rows import TokenWindows
from data.config import Data, Mixture, PaperMixture, Source, without_code
from data.errors import DataConfigError, DataError
from data.evaluation_text import EvaluationText
from data.run_vocabulary import find_vocabulary
from data.storage import cache_folder
from data.text.corpus import text_fingerprint
from data.text.ngram import Level, Ngram
from data.tokens.encoding import encoding_fingerprint
from data.training_data import Report, encode, read_corpora
from data.vocabularies import styles
from data.vocabularies.files import read_vocabulary
from data.vocabularies.vocabulary import Vocabulary
from models.config import ConfigError, check
from zoo.common.errors import CheckpointError
from zoo.common.progress import Progress
from zoo.common.serialize import from_json, to_json
from zoo.inference.decode import Sampling
from zoo.inference.evaluation import Evaluation
from zoo.inference.new_text import NewText
from zoo.ngram.files import COUNTS_FILE, SETTINGS_FILE, VOCABULARY_FOLDER

_ARRAYS = ("keys", "discounted", "totals", "freed")
BYTES = 257
"""Tokens of a vocabulary of bytes: them, and the mark between documents."""


@dataclass(frozen=True, eq=False)
class NgramModel:
    """An n-gram model with its vocabulary, and the text that it has counted."""

    ngram: Ngram
    vocabulary: Vocabulary
    data: Data
    fingerprint: dict[str, str | int]
    """That of the text, as in `data.training_data.TrainingData`."""
    num_tokens: int
    """Tokens that were counted."""

    @classmethod
    def count(
        cls, data: Data, order: int, vocab_size: int | None, max_tokens: int | None, report: Report
    ) -> "NgramModel":
        """Count the n-grams of the training text, whose token cache a run of the same text shares.

        Raises DataConfigError for a mixture or a stream, and DataConfigError and DataError as
        `data.training_data.load` does.

        Args:
          vocab_size: tokens of the vocabulary, which is trained on the text unless `data` names
            one. None: one token per byte.
          max_tokens: documents are taken at random until they have as many; None: all.
        """
        if data.streaming or isinstance(data.source, Mixture | PaperMixture):
            raise DataConfigError(
                "an n-gram model counts the whole text of one source; name one task or files, and "
                "leave out --data.mixture and --data.streaming"
            )
        folder = cache_folder(data.cache_dir)
        corpora = read_corpora(data, folder, report)
        if vocab_size is None:
            vocabulary = styles.train([], BYTES, "gpt2")
        else:
            vocabulary = find_vocabulary(data, corpora, vocab_size, folder, report)
        texts: list[np.ndarray] = []
        for corpus, _ in corpora:
            tokens = encode(corpus, vocabulary, folder, report)["train"].tokens
            texts += documents(tokens, vocabulary.bos_id, vocabulary.eos_id)
        if max_tokens is not None:
            texts = _at_random(texts, max_tokens, data.seed)
        ngram = Ngram.count(texts, order, vocabulary.size)
        fingerprint = {
            **text_fingerprint(corpora),
            "vocabulary": encoding_fingerprint(vocabulary),
        }
        return cls(ngram, vocabulary, data, fingerprint, sum(map(len, texts)))

    def write(self, folder: Path) -> None:
        """Write the files of the model into a folder."""
        settings = {
            "order": self.ngram.order,
            "num_symbols": self.ngram.num_symbols,
            "data": to_json(self.data),
            "fingerprint": self.fingerprint,
            "num_tokens": self.num_tokens,
        }
        arrays = {
            f"{name}_{n}": getattr(level, name)
            for n, level in enumerate(self.ngram.levels, 1)
            for name in _ARRAYS
        }
        (folder / VOCABULARY_FOLDER).mkdir()
        for name, content in self.vocabulary.to_files().items():
            (folder / VOCABULARY_FOLDER / name).write_bytes(content)
        np.savez_compressed(folder / COUNTS_FILE, **arrays)
        (folder / SETTINGS_FILE).write_text(json.dumps(settings))

    @classmethod
    def read(cls, folder: Path) -> "NgramModel":
        """Read the folder. Raises CheckpointError if it is damaged."""
        try:
            settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            with np.load(folder / COUNTS_FILE) as arrays:
                levels = tuple(
                    Level(**{name: arrays[f"{name}_{n}"] for name in _ARRAYS})
                    for n in range(1, settings["order"] + 1)
                )
            ngram = Ngram(settings["num_symbols"], levels)
            vocabulary = read_vocabulary(str(folder / VOCABULARY_FOLDER))
            data = from_json(settings["data"])
            return cls(ngram, vocabulary, data, settings["fingerprint"], settings["num_tokens"])
        except (OSError, ValueError, KeyError, TypeError, DataError, ConfigError) as error:
            raise CheckpointError(
                f"the n-gram model in {folder} is damaged ({error}); count it again with "
                "python -m zoo.ngram"
            ) from error

    def load_text(
        self, source: Source | None, max_tokens: int | None, cache_dir: str | None, report: Progress
    ) -> EvaluationText:
        """Return the held-out part of the model's own text or of another, or all text of files.

        Raises ConfigError unless `max_tokens` is above zero, and DataConfigError and DataError as
        `data.evaluation_text.load` does.
        """
        check(max_tokens is None or max_tokens > 0, f"--max-tokens={max_tokens} must be above zero")
        text = evaluation_text.load(
            # Documents end to end, however the rows of a transformer would be filled.
            replace(without_code(self.data), packing="split"),
            self.fingerprint,
            source=source,
            cache_dir=cache_dir,
            vocabulary=self.vocabulary,
            seq_len=1,
            batch_size=1,
            report=report.line,
        )
        if text.warning is not None:
            report.warn(text.warning)
        return text if max_tokens is None else text.first_tokens(max_tokens, self.vocabulary)

    def evaluate(self, text: EvaluationText) -> Evaluation:
        """Return how well the model predicts a text.

        Every token but the mark that starts a document is predicted from those of its document
        alone. Raises DataConfigError for a mixture.
        """
        if not isinstance(text.rows, TokenWindows):
            raise DataConfigError(
                f"an n-gram model reads text of one source, and {text.source} is a mixture; name "
                "one of its tasks"
            )
        marks = self.vocabulary.bos_id, self.vocabulary.eos_id
        blocks = self.ngram.probabilities(documents(text.rows.tokens, *marks))
        logs = np.concatenate([np.log(block) for block in blocks])
        return Evaluation(-float(logs.sum()), len(logs), text.num_bytes)

    def to_json(self, text: EvaluationText, evaluation: Evaluation) -> dict[str, Any]:
        """Return the evaluation of a text as JSON values."""
        return {
            "text": text.source,
            "order": self.ngram.order,
            "num_tokens": evaluation.num_tokens,
            "num_bytes": evaluation.num_bytes,
            **evaluation.to_json(),
            "baselines": text.baselines,
        }

    def stream(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> Iterator[list[str]]:
        """Yield the new text of every row, a token at a time."""
        rows = [self.vocabulary.encode(prompt) for prompt in prompts]
        texts = [NewText(self.vocabulary, row, skips_space=False) for row in rows]
        for new in self._draw(rows, max_tokens, sampling, seed):
            yield [text.feed(token) for text, token in zip(texts, new, strict=True)]
        yield [text.flush() for text in texts]

    def sample_ids(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int = 200,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> list[list[int]]:
        """Return the token ids that continue every prompt, up to the mark that ends a document.

        Raises ConfigError for an id that the vocabulary does not have.
        """
        for prompt in prompts:
            unknown = [i for i in prompt if not 0 <= i < self.vocabulary.size]
            check(
                not unknown,
                f"the prompt has the ids {unknown}, and the vocabulary has those from 0 to "
                f"{self.vocabulary.size - 1}",
            )
        rows: list[list[int]] = [[] for _ in prompts]
        for new in self._draw(prompts, max_tokens, sampling, seed):
            rows = [row + drawn for row, drawn in zip(rows, new, strict=True)]
        return rows

    def _draw(
        self, rows: Sequence[Sequence[int]], max_tokens: int, sampling: Sampling, seed: int
    ) -> Iterator[list[list[int]]]:
        """Yield the new token of every row; none for a row that has ended."""
        check(max_tokens > 0, f"max_tokens={max_tokens} must be above zero")
        rng, end_id = np.random.default_rng(seed), self.vocabulary.eos_id
        # The mark of a document's start is not counted: contexts begin by themselves.
        begins = [row[:1] == [self.vocabulary.bos_id] for row in map(list, rows)]
        rows = [list(row[1:] if begun else row) for row, begun in zip(rows, begins, strict=True)]
        running = [True] * len(rows)
        for _ in range(max_tokens):
            drawn: list[list[int]] = []
            for number, row in enumerate(rows):
                token = self._next(row, sampling, rng) if running[number] else end_id
                running[number] &= token != end_id
                drawn.append([token] if running[number] and token is not None else [])
                row += drawn[-1]
            yield drawn
            if not any(running):
                return

    def _next(self, row: list[int], sampling: Sampling, rng: np.random.Generator) -> int:
        p = np.where(self._is_text, self.ngram.next_probabilities(row), 0)
        return int(rng.choice(len(p), p=kept(p, sampling)))

    @property
    def draft(self) -> None:
        """No model proposes tokens to this one."""
        return None

    @cached_property
    def _is_text(self) -> np.ndarray:
        """[V] bool, False for marks other than that of a document's end."""
        v = self.vocabulary
        marks = [mark for mark in (v.pad_id, v.unk_id, v.bos_id) if mark not in (None, v.eos_id)]
        return ~np.isin(np.arange(v.size), marks)


def documents(tokens: np.ndarray, start: int | None, end: int | None) -> list[np.ndarray]:
    """Return each document up to its end mark, which is predicted, without its start mark.

    Where both marks are one, the mark between two documents is the end of the first. None: there
    is no such mark.
    """
    if end is None:
        is_start = np.flatnonzero(tokens == start) if start is not None else np.empty(0, np.int64)
        parts = np.split(tokens, is_start)
    else:
        parts = np.split(tokens, np.flatnonzero(tokens == end) + 1)
    kept = []
    for number, part in enumerate(parts):
        begins = len(part) > 0 and part[0] == start and (start != end or number == 0)
        kept.append(part[1:] if begins else part)
    return [part for part in kept if len(part)]


def _at_random(texts: list[np.ndarray], max_tokens: int, seed: int) -> list[np.ndarray]:
    """Return documents in a random order, the last one cut, with `max_tokens` tokens in all."""
    order = np.random.default_rng(seed).permutation(len(texts))
    chosen, left = [], max_tokens
    for number in order:
        chosen.append(texts[number][:left])
        left -= len(chosen[-1])
        if not left:
            break
    return chosen


def kept(p: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Return the distribution [V] that a token is drawn from, as `decode.kept_logits` has it."""
    if sampling.temperature == 0:
        return (np.arange(len(p)) == np.argmax(p)).astype(float)
    with np.errstate(divide="ignore"):
        logits = np.log(p) / sampling.temperature
    p = np.exp(logits - logits.max())
    if sampling.top_k is not None:
        p = np.where(p < np.sort(p)[-min(sampling.top_k, len(p))], 0, p)
    if sampling.top_p is not None:
        ordered = np.sort(p / p.sum())[::-1]
        is_kept = np.cumsum(ordered) - ordered < sampling.top_p
        p = np.where(p / p.sum() < ordered[is_kept].min(), 0, p)
    return p / math.fsum(p)
