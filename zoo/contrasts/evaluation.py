"""The quality of a trained encoder, alone or with a decoder, on a text."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.experiment import Experiment, Mesh
from configs.parts.objectives import Continuation, loss_unit
from data.batches.rows import TokenWindows
from data.config import Source
from data.evaluation_text import EvaluationText
from data.vocabularies.hugging_face import check_has_text
from data.vocabularies.vocabulary import Vocabulary
from models.config import ConfigError
from zoo.checkpoints import checkpoint
from zoo.common.progress import Progress
from zoo.contrasts.loading import load
from zoo.contrasts.masked_text import MaskedTextModel, PseudoScore
from zoo.distribution.devices import for_inference
from zoo.distribution.sharding import make_mesh
from zoo.inference.evaluation import Evaluation, evaluate, load_text
from zoo.training.program import Program

PSEUDO_TOKENS = 2048
"""Tokens that are hidden one by one, each with a forward pass of its own."""


@dataclasses.dataclass(frozen=True)
class ContrastEvaluation:
    """The evaluation of a checkpoint on a text by its own objective."""

    folder: Path
    experiment: Experiment
    text: EvaluationText
    evaluation: Evaluation
    """The loss of the objective. Bits per byte mean something for a continuation only."""
    pseudo: PseudoScore | None
    """That of the first tokens, for an encoder."""

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of the second parts given the first; None for other objectives."""
        is_continued = isinstance(self.experiment.objective, Continuation)
        return self.evaluation.bits_per_byte if is_continued else None

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints for one text."""
        pseudo = self.pseudo
        found: dict[str, Any] = {
            "checkpoint": str(self.folder),
            "text": self.text.source,
            "objective": type(self.experiment.objective).__name__,
            "seq_len": self.experiment.seq_len,
            "num_tokens": self.evaluation.num_tokens,
            "eval/loss": self.evaluation.loss,
            "eval/bits_per_byte": self.bits_per_byte,
            "pseudo_log_likelihood": None,
        }
        if pseudo is not None:
            found["pseudo_log_likelihood"] = {
                "nats": pseudo.pseudo_log_likelihood,
                "num_tokens": pseudo.num_tokens,
                "nats_per_token": pseudo.pseudo_log_likelihood / pseudo.num_tokens,
                "accuracy": pseudo.num_best / pseudo.num_tokens,
            }
        return found

    def description(self) -> str:
        """Describe the result, a number a line."""
        found = self.evaluation
        lines = [
            f"text           {self.text.source}",
            f"tokens         {found.num_tokens:,} predicted, rows of {self.experiment.seq_len:,}",
            f"loss           {found.loss:.4f} {loss_unit(self.experiment.objective)}",
        ]
        if self.bits_per_byte is not None:
            lines.append(f"bits per byte  {self.bits_per_byte:.4f}, of the second parts")
        if self.pseudo is not None:
            total, number = self.pseudo.pseudo_log_likelihood, self.pseudo.num_tokens
            lines.append(
                f"pseudo-log-likelihood of the first {number:,} tokens, each hidden in turn:\n"
                f"               {total / number:.4f} nats per token; "
                f"{self.pseudo.num_best / number:.1%} are the likeliest at their place\n"
                "               (no probability of the text: not comparable with bits per byte)"
            )
        return "\n".join(lines)


def evaluate_contrast(
    folder: Path,
    *,
    sources: Sequence[Source] = (),
    cache_dir: str | None = None,
    max_tokens: int | None = None,
    report: Progress,
) -> list[ContrastEvaluation]:
    """Evaluate the checkpoint in one step's `folder` on one or several texts. None: as in its run.

    What a row hides, or where it is cut, is the same in every evaluation. The rows of a
    continuation overlap, so that every token but those of the first row's first part, and the last
    one, is predicted.

    Args:
      max_tokens: stop after this many tokens of each text.

    Raises ConfigError, DataError or CheckpointError for what a user can correct.
    """
    model = load(folder)
    run, vocabulary = checkpoint.read_run(folder), model.vocabulary
    check_has_text(vocabulary)
    experiment = for_inference(run.experiment)
    mesh = Mesh(data=1)
    experiment = dataclasses.replace(experiment, batch_ramp=None, micro_batches=1, mesh=mesh)
    report.line(f"checkpoint: {folder}")
    program = Program(experiment, make_mesh(mesh, 1))

    def measure(source: Source | None) -> ContrastEvaluation:
        text = load_text(run, experiment, vocabulary, source, cache_dir, max_tokens, report)
        pseudo = _pseudo(model, text, report) if isinstance(model, MaskedTextModel) else None
        rows = text
        if isinstance(experiment.objective, Continuation):
            source_len, target_len = experiment.objective.lengths(experiment.seq_len)
            tokens = _tokens(text)
            # Neither the first source nor the last token, which no row reads, is predicted.
            left_out = np.concatenate([tokens[:source_len], tokens[-1:]])
            num_bytes = text.num_bytes - _num_bytes(vocabulary, left_out)
            rows = dataclasses.replace(text, num_bytes=num_bytes).with_stride(target_len)
        host = rows.rows.eval_batches(experiment.batch_size)
        num_batches = math.ceil(len(rows.rows) / experiment.batch_size)
        batches = map(program.batch_layout.put, report.track("evaluating", host, num_batches))
        evaluation = evaluate(program.eval_step, model.params, batches, rows.num_bytes)
        return ContrastEvaluation(folder, experiment, text, evaluation, pseudo)

    with program.entered():
        return [measure(source) for source in sources or [None]]


def _tokens(text: EvaluationText) -> np.ndarray:
    if not isinstance(text.rows, TokenWindows):
        raise ConfigError(f"{text.source} is a mixture; evaluate its sources one by one")
    return text.rows.tokens


def _num_bytes(vocabulary: Vocabulary, tokens: np.ndarray) -> int:
    return len(vocabulary.decode(tokens.tolist()).encode())


def _pseudo(model: MaskedTextModel, text: EvaluationText, report: Progress) -> PseudoScore:
    tokens = _tokens(text)[:PSEUDO_TOKENS]
    report.line(f"hiding each of {len(tokens):,} tokens in turn")
    return model.pseudo_score_ids(tokens.tolist())
