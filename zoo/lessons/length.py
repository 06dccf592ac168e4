"""The loss at each position of a sequence, within the trained length and beyond it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np

from configs.experiment import Experiment
from data import evaluation_text
from data.batches.rows import Rows
from data.config import without_code
from models.config import Bucketed, ConfigError, Learned, Relative, Rotary, Sinusoidal, check
from zoo.checkpoints import checkpoint
from zoo.common.progress import Progress
from zoo.inference.language_model import LanguageModel

BATCH_TOKENS = 8192
"""Tokens that are scored at a time."""


@dataclass(frozen=True)
class LossByPosition:
    """The loss of one model after 1, 2, ... tokens of a document."""

    name: str
    positions: str
    """The kind of its positions, in a word."""
    trained_length: int
    """Tokens of the sequences it was trained on."""
    nats: np.ndarray
    """[windows, length] nats of the token after the first 1, 2, ... tokens of each window, as far
    as the model can read."""
    cut: np.ndarray
    """[windows, length] the same tokens predicted from no more than the trained length: from half
    to all of it, once there are as many tokens before them."""
    documents: np.ndarray
    """[windows] the number of each window's document."""

    def part(self, low: float, high: float) -> "Part | None":
        """Return the loss between two positions, in trained lengths; None if it cannot be read."""
        first, last = (round(share * self.trained_length) for share in (low, high))
        if last > self.nats.shape[1]:
            return None
        gain = (self.nats - self.cut)[:, first:last].mean(1)
        return Part(float(self.nats[:, first:last].mean()), float(gain.mean()), self._error(gain))

    def _error(self, gain: np.ndarray) -> float | None:
        """Return the standard error of a mean over windows, which are alike within a document."""
        _, document = np.unique(self.documents, return_inverse=True)
        sums = np.bincount(document, gain - gain.mean())
        if len(sums) < 2:
            return None
        return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1))) / len(gain)


@dataclass(frozen=True)
class Part:
    """The loss in one part of the windows."""

    loss: float
    """Mean nats per token."""
    change: float
    """This loss less that of the same tokens predicted from no more than the trained length. Below
    zero: more context helps; above: it hurts. 0 within the trained length."""
    error: float | None
    """Standard error of the change over the documents; None: there is only one."""


def loss_by_position(
    model: LanguageModel, name: str, tokens: np.ndarray, max_length: int, max_windows: int
) -> LossByPosition:
    """Return the loss of windows that lie within one document, drawn evenly from all of them.

    Args:
      tokens: [N] encoded documents, one after the other.
      max_length: tokens of a window. A model with learned positions reads its context only.
      max_windows: windows to score.

    Raises ConfigError if no document is as long as a window.
    """
    experiment = model.experiment
    every = [*_windows(model, tokens, max_length)]
    check(
        len(every) > 0,
        f"--max-length={max_length} is longer than every held-out document of {name}; write a "
        "smaller one",
    )
    kept = np.unique(np.linspace(0, len(every) - 1, max_windows).round().astype(int))
    documents = np.array([every[number][0] for number in kept])
    windows = np.array([every[number][1] for number in kept], np.int32)
    length = min(max_length, experiment.model.max_length or max_length)
    nats = _nats(model, windows[:, : length + 1])
    cut, half = nats.copy(), experiment.seq_len // 2
    for first in range(half, length - half, half):
        again = _nats(model, windows[:, first : min(first + 2 * half, length) + 1])
        cut[:, first + half : first + 2 * half] = again[:, half:]
    return LossByPosition(name, positions(experiment), experiment.seq_len, nats, cut, documents)


def _nats(model: LanguageModel, windows: np.ndarray) -> np.ndarray:
    """Return [W, T] nats of every token but the first of windows [W, T + 1]."""
    length = windows.shape[1] - 1
    rows = max(1, BATCH_TOKENS // length)
    found = []
    for first in range(0, len(windows), rows):
        batch = windows[first : first + rows]
        padded = np.pad(batch, ((0, rows - len(batch)), (0, 0)))  # one shape to compile
        log_p, _ = model.token_scores(padded)
        found.append(-np.asarray(log_p, np.float64)[: len(batch)])
    return np.concatenate(found)


def positions(experiment: Experiment) -> str:
    """Return the kind of the model's positions in a word."""
    match experiment.model.position:
        case Learned():
            return "learned"
        case Rotary():
            return "rotary"
        case Relative() | Bucketed():
            return "relative"
        case Sinusoidal():
            return "sinusoidal"
        case _:
            assert_never(experiment.model.position)


def held_out_tokens(model: LanguageModel, folder: Path, report: Progress) -> np.ndarray:
    """Return the held-out documents of the run whose checkpoint is in `folder`, [N] ids.

    Raises ConfigError for a mixture, DataError for text that is missing.
    """
    run = checkpoint.read_run(folder)
    text = evaluation_text.load(
        without_code(run.experiment.data),
        run.data_fingerprint,
        source=None,
        cache_dir=None,
        vocabulary=model.vocabulary,
        seq_len=model.experiment.seq_len,
        batch_size=1,
        report=report.line,
    )
    if not isinstance(text.rows, Rows):
        raise ConfigError(
            f"{folder} was trained on a mixture, and its loss by position needs text of one source"
        )
    return text.rows.tokens


def _windows(
    model: LanguageModel, tokens: np.ndarray, length: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield disjoint pieces of `length` + 1 tokens, with a start mark and a document's number."""
    start = np.array(model.vocabulary.start, np.int32)
    ids = (model.vocabulary.bos_id, model.vocabulary.eos_id)
    marks = [token for token in ids if token is not None]
    borders = np.flatnonzero(np.isin(tokens, marks))
    documents = np.split(tokens, np.unique([*borders, *(borders + 1)]))
    for number, document in enumerate(documents):
        if len(document) == 1 and document[0] in marks:
            continue
        size = length + 1 - len(start)
        for first in range(0, len(document) - size + 1, size):
            yield number, np.concatenate([start, document[first : first + size]])
