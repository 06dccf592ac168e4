"""The loss at each position of a sequence, within the trained length and beyond it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from configs.experiment import Experiment
from data import evaluation_text
from data.batches.rows import Rows
from data.config import without_code
from models.config import ConfigError, Learned, Relative, Rotary, check
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
    """The kind of its positions, in words."""
    trained_length: int
    """Tokens of the sequences it was trained on."""
    nats: np.ndarray
    """[length] mean nats of the token after the first 1, 2, ... tokens of a window, as far as the
    model can read."""
    num_windows: int

    def between(self, first: int, last: int) -> float | None:
        """Return the mean loss after `first` to `last` - 1 tokens; None if some cannot be read."""
        return float(self.nats[first:last].mean()) if last <= len(self.nats) else None

    @property
    def beyond(self) -> float | None:
        """The loss after one to two trained lengths, less that after half to one.

        Below zero: more context still helps. None: the model cannot read so far.
        """
        length = self.trained_length
        further, trained = self.between(length, 2 * length), self.between(length // 2, length)
        return None if further is None or trained is None else further - trained


def loss_by_position(
    model: LanguageModel, name: str, tokens: np.ndarray, max_length: int, max_windows: int
) -> LossByPosition:
    """Return the loss of the first windows that lie within one document.

    Args:
      tokens: [N] encoded documents, one after the other.
      max_length: tokens of a window. A model with learned positions reads its context only.
      max_windows: windows to score.

    Raises ConfigError if no document is as long as a window.
    """
    experiment = model.experiment
    windows = np.array(list(_windows(model, tokens, max_length)), np.int32)[:max_windows]
    check(
        len(windows) > 0,
        f"--max-length={max_length} is longer than every held-out document of {name}; write a "
        "smaller one",
    )
    length = min(max_length, experiment.model.max_length or max_length)
    rows = max(1, BATCH_TOKENS // length)
    total = np.zeros(length)
    for first in range(0, len(windows), rows):
        batch = windows[first : first + rows, : length + 1]
        padded = np.pad(batch, ((0, rows - len(batch)), (0, 0)))
        log_p, _ = model.token_scores(padded)
        total -= np.asarray(log_p, np.float64)[: len(batch)].sum(0)
    return LossByPosition(
        name, positions(experiment), experiment.seq_len, total / len(windows), len(windows)
    )


def positions(experiment: Experiment) -> str:
    """Return the kind of the model's positions in a word."""
    match experiment.model.position:
        case Learned():
            return "learned"
        case Rotary():
            return "rotary"
        case Relative():
            return "relative"


def held_out_tokens(model: LanguageModel, path: str, report: Progress) -> np.ndarray:
    """Return the held-out documents of the model's own run, [N] ids.

    Raises ConfigError for a mixture, DataError for text that is missing.
    """
    run = checkpoint.read_run(checkpoint.find(path))
    text = evaluation_text.load(
        without_code(run.experiment.data),
        run.data_fingerprint,
        source=None,
        cache_dir=None,
        vocabulary=model.vocabulary,
        seq_len=model.experiment.seq_len,
        batch_size=1,
        report=report,
    )
    if not isinstance(text.rows, Rows):
        raise ConfigError(
            f"{path} was trained on a mixture, and its loss by position needs text of one source"
        )
    return text.rows.tokens


def _windows(model: LanguageModel, tokens: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Yield disjoint pieces of `length` + 1 tokens, each of one document, with its start mark."""
    start = np.array(model.vocabulary.start, np.int32)
    marks = {model.vocabulary.bos_id, model.vocabulary.eos_id} - {None}
    borders = np.flatnonzero(np.isin(tokens, list(marks)))
    for document in np.split(tokens, np.unique([*borders, *(borders + 1)])):
        if len(document) == 1 and document[0] in marks:
            continue
        size = length + 1 - len(start)
        for first in range(0, len(document) - size + 1, size):
            yield np.concatenate([start, document[first : first + size]])
