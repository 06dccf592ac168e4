"""How well a model predicts a text: in the middle of a run, or from a checkpoint afterwards."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import assert_never

import jax
from flax import nnx

from configs.experiment import Experiment, Mesh
from data import evaluation_text
from data.config import Source
from data.evaluation_text import EvaluationText
from models.config import Learned, Relative, Rotary, check
from models.transformer import abstract_params
from zoo.checkpoints import checkpoint
from zoo.distribution import sharding
from zoo.distribution.devices import describe_devices, unused_accelerator
from zoo.progress import Progress
from zoo.training.loss import LossSums
from zoo.training.step import Batch, make_steps


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model's predictions of a text's tokens came to."""

    nats: float
    """Minus the natural logarithm of the probability of all tokens."""
    num_tokens: int
    """Tokens predicted: all but each document's BOS."""
    num_bytes: int
    """UTF-8 bytes of the text."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.num_tokens

    @property
    def perplexity(self) -> float:
        """exp(loss): the number of equally likely tokens that would leave a model as unsure."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Unlike the loss, comparable between vocabularies."""
        return self.nats / math.log(2) / self.num_bytes


def evaluate(
    eval_step: Callable[[nnx.State, Batch], LossSums],
    params: nnx.State,
    batches: Iterable[Batch],
    num_bytes: int,
) -> Evaluation:
    """The sums over all batches of a text of `num_bytes`."""
    nats = tokens = 0.0
    sums = (eval_step(params, batch) for batch in batches)
    # Each is read once the next is under way, so that the devices never wait for the host.
    for each, _ in itertools.pairwise(itertools.chain(sums, [None])):
        assert each is not None
        nats += float(each.nats)
        tokens += float(each.tokens)
    return Evaluation(nats, round(tokens), num_bytes)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A checkpoint, the text that it was measured on and how, and the result."""

    folder: Path
    experiment: Experiment
    text: EvaluationText
    evaluation: Evaluation


def evaluate_checkpoint(
    path: str,
    *,
    source: Source | None = None,
    cache_dir: str | None = None,
    batch_tokens: int | None = None,
    seq_len: int | None = None,
    max_tokens: int | None = None,
    mesh: Mesh = Mesh(),
    report: Progress,
) -> Measured:
    """Measure the checkpoint in `path`, a workdir or one step's folder; None means as in its run.

    Args:
      path: the checkpoint.
      source: text to read instead of the run's: the validation split of a task or a mixture, or all of
        files.
      cache_dir: where token caches are kept.
      batch_tokens: tokens at a time, over all devices.
      seq_len: tokens in a row.
      max_tokens: where in the text to stop.
      mesh: of the devices of this machine.
      report: takes lines and the progress.

    Raises ConfigError, DataError or CheckpointError for what a person can mend.
    """
    check(max_tokens is None or max_tokens > 0,
          f"--max-tokens={max_tokens} must be above zero")  # fmt: skip
    folder = checkpoint.find(path)
    run, vocabulary = checkpoint.read_run(folder), checkpoint.read_vocabulary(folder)
    experiment = _for_evaluation(run.experiment, seq_len, batch_tokens, mesh)
    report.line(f"checkpoint: {folder}")
    report.line(f"devices: {describe_devices()}, jax {jax.__version__}")
    if complaint := unused_accelerator():
        report.warn(complaint)
    if experiment.seq_len > run.experiment.seq_len:
        _tell_longer(experiment, run.experiment.seq_len, report)
    device_mesh = sharding.make_mesh(mesh, jax.device_count(), experiment.batch_size)
    rules = sharding.rules_for(experiment, device_mesh)
    text = evaluation_text.load(
        run.experiment.data,
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
    if max_tokens is not None:
        text = text.first_tokens(max_tokens, vocabulary)

    steps = make_steps(experiment, device_mesh)
    with jax.set_mesh(device_mesh), nnx.logical_axis_rules(rules):
        shardings = sharding.state_shardings(abstract_params(experiment.model), device_mesh, rules)
        params = checkpoint.read_params(folder, experiment, shardings)
        rows_on_devices = sharding.batch_sharding(device_mesh)
        host_batches = text.rows.eval_batches(experiment.batch_size)
        num_batches = math.ceil(len(text.rows) / experiment.batch_size)
        batches = (
            sharding.put_batch(batch, rows_on_devices)
            for batch in report.track("evaluating", host_batches, num_batches)
        )
        evaluation = evaluate(jax.jit(steps.eval_step), params, batches, text.num_bytes)
    return Measured(folder, experiment, text, evaluation)


def _for_evaluation(
    trained: Experiment, seq_len: int | None, batch_tokens: int | None, mesh: Mesh
) -> Experiment:
    """The run's experiment with what an evaluation may do otherwise."""
    model, length = trained.model, trained.seq_len if seq_len is None else seq_len
    check(length > 0, f"--seq-len={length} must be above zero")
    check(length <= model.context_length or not isinstance(model.position, Learned),
          f"--seq-len={length}: this model has learned positions, and they end at its context_length "
          f"of {model.context_length}; write --seq-len={model.context_length} or less (only rotary "
          "and relative positions go on)")  # fmt: skip
    if batch_tokens is None:
        batch_tokens = max(1, trained.batch_tokens // length) * length
    return dataclasses.replace(
        trained, seq_len=length, batch_tokens=batch_tokens, micro_batches=1, mesh=mesh
    )


def _tell_longer(experiment: Experiment, trained_length: int, report: Progress) -> None:
    """Say what it means that rows are longer than any that the model was trained on."""
    longer = (
        f"rows of {experiment.seq_len:,} tokens, and the model was trained on {trained_length:,}"
    )
    match experiment.model.position:
        case Learned():
            report.warn(f"{longer}: its learned positions from there on were never trained")
        case Rotary() | Relative():
            report.line(
                f"{longer}: its positions go on, though it may not have learned to use them"
            )
        case _:
            assert_never(experiment.model.position)
