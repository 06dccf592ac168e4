"""Evaluation: how well a model predicts a text, during a run or from a checkpoint."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import assert_never

import jax
from flax import nnx

from configs.experiment import Experiment, Mesh, Weights
from data import evaluation_text
from data.config import Source, without_code
from data.evaluation_text import EvaluationText
from data.vocabularies.hugging_face import check_has_text
from data.vocabularies.vocabulary import Vocabulary
from models.config import Bucketed, Learned, Relative, Rotary, Sinusoidal, check
from zoo.checkpoints import checkpoint, recovery
from zoo.checkpoints.checkpoint import Run
from zoo.common.progress import Progress
from zoo.distribution.devices import (
    choose_attention,
    describe_devices,
    for_inference,
    unused_accelerator,
)
from zoo.distribution.hosts import Hosts
from zoo.distribution.sharding import make_mesh, rows_to_share
from zoo.inference.weights import hold
from zoo.training.loss import LossSums
from zoo.training.program import Program
from zoo.training.step import Batch


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The quality of a model's predictions of the tokens of a text."""

    nats: float
    """The negative log-likelihood of all tokens."""
    num_tokens: int
    """Tokens that were predicted; see `data.evaluation_text.EvaluationText.rows`."""
    num_bytes: int
    """UTF-8 bytes of the text."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.num_tokens

    @property
    def perplexity(self) -> float:
        """exp(loss), per token: the number of equally likely tokens that are as hard to predict."""
        return math.exp(self.loss)

    @property
    def byte_perplexity(self) -> float:
        """exp(nats per byte), which can be compared between vocabularies."""
        return math.exp(self.nats / self.num_bytes)

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the text, which can be compared between vocabularies."""
        return self.nats / math.log(2) / self.num_bytes

    def to_json(self) -> dict[str, float]:
        """Return the numbers by the names that metrics.jsonl has."""
        return {
            "eval/loss": self.loss,
            "eval/perplexity": self.perplexity,
            "eval/byte_perplexity": self.byte_perplexity,
            "eval/bits_per_byte": self.bits_per_byte,
        }


def evaluate(
    eval_step: Callable[[nnx.State, Batch], LossSums],
    params: nnx.State,
    batches: Iterable[Batch],
    num_bytes: int,
) -> Evaluation:
    """Evaluate all batches of a text of `num_bytes`."""
    nats = tokens = 0.0
    all_sums = (eval_step(params, batch) for batch in batches)
    # Read the sums of a batch while the next batch runs: the devices never wait for the host.
    for sums, _ in itertools.pairwise(itertools.chain(all_sums, [None])):
        assert sums is not None
        nats += float(sums.nats)
        tokens += float(sums.tokens)
    return Evaluation(nats, round(tokens), num_bytes)


def description(
    text: EvaluationText, evaluation: Evaluation, predicted: str, *, is_cut: bool, beside: str = ""
) -> str:
    """Describe the result on one text, a number a line.

    Args:
      predicted: what the tokens were predicted from, in words.
      is_cut: the baselines are those of more text than was evaluated.
      beside: stands after the bits per byte.
    """
    per_byte = evaluation.byte_perplexity
    lines = [
        f"text           {text.source}: {evaluation.num_bytes:,} bytes",
        f"tokens         {evaluation.num_tokens:,} predicted, {predicted}",
        f"loss           {evaluation.loss:.4f} nats per token",
        f"perplexity     {evaluation.perplexity:.4g} per token, {per_byte:.4g} per byte",
        f"bits per byte  {evaluation.bits_per_byte:.4f}{beside}",
    ]
    whole = ", on the whole text" if is_cut else ""
    for name, bits_per_byte in text.baselines.items():
        lines.append(f"  {name:<13}{bits_per_byte:.4f}{whole}")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class CheckpointEvaluation:
    """The evaluation of a checkpoint on a text, with the settings that it ran with."""

    folder: Path
    experiment: Experiment
    stride: int
    """Tokens from the start of one window to that of the next; `seq_len` if they do not overlap."""
    text: EvaluationText
    evaluation: Evaluation
    weights: Weights = "run"
    evaluation_of_run: Evaluation | None = None
    """With other weights than those of the run, also the evaluation with these."""


def evaluate_checkpoint(
    folder: Path,
    *,
    sources: Sequence[Source] = (),
    cache_dir: str | None = None,
    batch_tokens: int | None = None,
    seq_len: int | None = None,
    stride: int | None = None,
    max_tokens: int | None = None,
    mesh: Mesh = Mesh(),
    weights: Weights = "run",
    place: Callable[[Experiment], Experiment],
    hosts: Hosts = Hosts(),
    report: Progress,
) -> list[CheckpointEvaluation]:
    """Evaluate the checkpoint in one step's `folder` on one or several texts. None: as in its run.

    Args:
      sources: evaluate each of these instead of the run's text: the validation split of a task or
        of a mixture, or all of some files.
      cache_dir: folder of the token caches.
      batch_tokens: tokens per batch, over all devices.
      seq_len: tokens per row.
      stride: tokens from the start of one row to that of the next; None: `seq_len`. A row counts
        only the targets that no row before it has.
      max_tokens: stop after this many tokens of each text.
      weights: any but "run" are evaluated beside those of the run, which takes twice as long.
      place: decides what the mesh leaves open, for the devices there.
      hosts: the processes whose devices share the work; each calls this.

    Raises ConfigError, DataError or CheckpointError for what a user can correct.
    """
    hosts.together(lambda: recovery.verify(folder))
    run, vocabulary = checkpoint.read_run(folder), checkpoint.read_vocabulary(folder)
    check_has_text(vocabulary)
    experiment = _for_evaluation(for_inference(run.experiment), seq_len, batch_tokens, mesh)
    stride = experiment.seq_len if stride is None else stride
    check(
        1 <= stride <= experiment.seq_len,
        f"--stride={stride} must be from 1 to the {experiment.seq_len} tokens of a row, so that no "
        "token is left out",
    )
    experiment = place(experiment)
    program = program_for(folder, experiment, run.experiment.seq_len, report)

    hosts.connect(program.mesh)

    def load(source: Source | None) -> EvaluationText:
        text = hosts.in_turn(
            lambda: load_text(run, experiment, vocabulary, source, cache_dir, max_tokens, report)
        )
        return text if stride == experiment.seq_len else text.with_stride(stride)

    # All texts are found before the first is evaluated, which may take hours.
    texts = [load(source) for source in sources or [None]]
    with program.entered():
        params = checkpoint.read_params_like(folder, program.params)
        of_run = [_evaluate_text(program, params, text, report) for text in texts]
        if weights == "run":
            return [
                CheckpointEvaluation(folder, experiment, stride, *each)
                for each in zip(texts, of_run, strict=True)
            ]
        params = hold(params, weights, experiment.model, program)
        return [
            CheckpointEvaluation(
                folder,
                experiment,
                stride,
                text,
                _evaluate_text(program, params, text, report),
                weights,
                evaluation_of_run,
            )
            for text, evaluation_of_run in zip(texts, of_run, strict=True)
        ]


def load_text(
    run: Run,
    experiment: Experiment,
    vocabulary: Vocabulary,
    source: Source | None,
    cache_dir: str | None,
    max_tokens: int | None,
    report: Progress,
) -> EvaluationText:
    """Return a text to evaluate a checkpoint on, in rows of the `experiment`; report its warning.

    Raises as `evaluate_checkpoint`, whose arguments these are; `source` None is the run's text.
    """
    check(max_tokens is None or max_tokens > 0, f"--max-tokens={max_tokens} must be above zero")
    text = evaluation_text.load(
        without_code(run.experiment.data),
        run.data_fingerprint,
        source=source,
        cache_dir=cache_dir,
        vocabulary=vocabulary,
        seq_len=experiment.seq_len,
        batch_size=experiment.batch_size,
        report=report.line,
    )
    if text.warning is not None:
        report.warn(text.warning)
    return text if max_tokens is None else text.first_tokens(max_tokens, vocabulary)


def program_for(
    folder: Path, experiment: Experiment, trained_length: int, report: Progress
) -> Program:
    """Return the program on the devices of this job; report these and what may go wrong."""
    report.line(f"checkpoint: {folder}")
    report.line(f"devices: {describe_devices()}, jax {jax.__version__}")
    if complaint := unused_accelerator():
        report.warn(complaint)
    if experiment.seq_len > trained_length:
        _warn_longer(experiment, trained_length, report)
    num_rows = rows_to_share(experiment)
    mesh = make_mesh(experiment.mesh, jax.device_count(), num_rows)
    experiment, reason = choose_attention(experiment, mesh.shape, is_training=False)
    report.line(f"attention: {experiment.execution.attention}: {reason}")
    return Program(experiment, mesh)


def _evaluate_text(
    program: Program, params: nnx.State, text: EvaluationText, report: Progress
) -> Evaluation:
    batch_size, layout = program.experiment.batch_size, program.batch_layout
    num_batches = math.ceil(len(text.rows) / batch_size)
    host_batches = text.rows.eval_batches(batch_size, layout.rows)
    batches = map(layout.put, report.track("evaluating", host_batches, num_batches))
    return evaluate(program.eval_step, params, batches, text.num_bytes)


def _for_evaluation(
    trained: Experiment, seq_len: int | None, batch_tokens: int | None, mesh: Mesh
) -> Experiment:
    """The run's experiment with the settings that an evaluation may change."""
    model, length = trained.model, trained.seq_len if seq_len is None else seq_len
    check(length > 0, f"--seq-len={length} must be above zero")
    longest = model.max_length
    check(
        longest is None or length <= longest,
        f"--seq-len={length} is too long: learned positions end at the model's context_length of "
        f"{longest}; write --seq-len={longest} or less (only rotary and relative positions extend "
        "further)",
    )
    if batch_tokens is None:
        batch_tokens = max(1, trained.batch_tokens // length) * length
    return dataclasses.replace(
        trained,
        seq_len=length,
        batch_tokens=batch_tokens,
        batch_ramp=None,
        micro_batches=1,
        mesh=mesh,
    )


def _warn_longer(experiment: Experiment, trained_length: int, report: Progress) -> None:
    """Warn that rows are longer than any that the model was trained on."""
    longer = (
        f"rows of {experiment.seq_len:,} tokens, and the model was trained on {trained_length:,}"
    )
    match experiment.model.position:
        case Learned():
            report.warn(f"{longer}: its learned positions from there on were never trained")
        case Rotary() | Relative() | Sinusoidal() | Bucketed():
            report.line(
                f"{longer}: its positions extend further, but it may not have learned to use them"
            )
        case _:
            assert_never(experiment.model.position)
