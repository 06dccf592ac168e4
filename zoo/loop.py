"""One training run, from an experiment to a workdir. The mathematics of a step is in zoo/step.py."""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from data.training_data import TrainingData, load
from models.transformer import num_params
from zoo import checkpoint, metrics, sharding, workdir
from zoo.checkpoint import CheckpointWriter, Run
from zoo.config import Experiment
from zoo.devices import describe_devices, unused_accelerator
from zoo.errors import StoppedError
from zoo.evaluation import evaluate
from zoo.flops import train_flops_palm
from zoo.generate import Sampling
from zoo.language_model import LanguageModel
from zoo.launch import StopRequest
from zoo.metrics import MetricsWriter
from zoo.report import Report
from zoo.run_log import RunLog
from zoo.step import Steps, TrainState, make_steps


def train(
    name: str, experiment: Experiment, folder: Path, report: Report, *, fresh: bool
) -> dict[str, Any]:
    """Train until `experiment.num_steps`, going on from the newest checkpoint in `folder`.

    Returns what the run came to. Raises ConfigError, DataError, CheckpointError or WorkdirError for
    what a person can mend, DivergedError, and StoppedError with the state saved after a signal.
    """
    workdir.prepare(folder)
    report.line(f"devices: {describe_devices()}, jax {jax.__version__}")
    if complaint := unused_accelerator():
        report.warn(complaint)
    accelerated = jax.default_backend() != "cpu"
    experiment = dataclasses.replace(
        experiment, execution=experiment.execution.resolve(accelerated=accelerated)
    )
    num_rows = experiment.batch_size // experiment.micro_batches
    mesh = sharding.make_mesh(experiment.mesh, jax.device_count(), num_rows)
    if mesh.size < jax.device_count():
        report.warn(
            f"{mesh.size} of {jax.device_count()} devices are used: a batch of {num_rows} sequences "
            "divides no further; raise --batch-tokens, or split the model with --mesh.tensor"
        )
    rules = sharding.rules_for(experiment, mesh)
    size = num_params(experiment.model)
    token_flops = train_flops_palm(experiment.model, size, experiment.seq_len)
    report.model(name, experiment, size, token_flops * experiment.num_tokens)
    report.line(f"workdir: {folder}")

    data, resume_from = _load_data(experiment, folder, report, fresh=fresh)
    baselines = data.baselines()
    steps = make_steps(experiment, num_logit_shards=mesh.size)
    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        abstract = jax.eval_shape(steps.init)
        _check_space(abstract, experiment, folder, fresh=fresh)
        if fresh:  # only now that the new run is known to be possible
            workdir.clear(folder)
        state, shardings = _initial_state(steps, abstract, mesh, rules, resume_from)
        first_step, num_steps = int(state.step), experiment.num_steps
        workdir.write_config(folder, experiment)
        if first_step >= num_steps:
            report.line(f"finished before: step {first_step} is saved, --num-steps is {num_steps}")
        elif resume_from is not None:
            report.line(f"resuming from {resume_from.relative_to(folder.absolute())}")
        train_step = jax.jit(steps.train_step, donate_argnums=0, out_shardings=(shardings, None))
        eval_step = jax.jit(steps.eval_step)
        rows_on_devices = sharding.batch_sharding(mesh)
        evaluation: dict[str, float] = {}

        with (
            workdir.writing(folder),
            CheckpointWriter(folder, Run(experiment, data.fingerprint), data.vocabulary) as saver,
            MetricsWriter(folder, first_step=first_step) as writer,
            report.bar(first_step, num_steps),
            StopRequest() as stop,
        ):
            log = RunLog(experiment, token_flops, mesh.size, writer, report)
            for step in range(first_step, num_steps):
                with log.waiting_for_input():
                    batch = sharding.put_batch(data.train.train_batch(step), rows_on_devices)
                state, step_metrics = train_step(state, batch)
                log.push(step + 1, step_metrics)

                done, stopping = step + 1, stop.signal is not None
                evaluates = done == num_steps or done % experiment.eval_every == 0
                saves = done == num_steps or done % experiment.save_every == 0 or stopping
                evaluation = {}
                if evaluates:
                    jax.block_until_ready(step_metrics)
                    with log.paused():
                        evaluation = _evaluate(eval_step, state, data, rows_on_devices)
                        report.evaluation(done, evaluation, baselines)
                if evaluates or saves:
                    log.flush(evaluation)  # before saving: it refuses what is not finite
                with log.paused():
                    if saves:
                        saver.save(state, done, evaluation or None)
                    if stopping:
                        break
                    if evaluates:
                        sample = _sample(steps, state, experiment, data)
                        workdir.write_sample(folder, done, sample)
                        writer.write_text("sample", sample, done)
                        metrics.plot_loss(folder, f"{name}, {size:,} parameters", baselines)
        if stop.signal is not None and int(state.step) < num_steps:
            raise StoppedError(
                f"{stop.signal.name}: saved step {int(state.step)} of {num_steps} in {folder}; the "
                "same command without --fresh goes on from there",
                stop.exit_code,
            )
        evaluation = evaluation or _evaluate(eval_step, state, data, rows_on_devices)
        sample = _sample(steps, state, experiment, data)
    report.end(name, folder, experiment, evaluation["eval/bits_per_byte"], baselines, sample)
    return {
        "model": name,
        "workdir": str(folder),
        "num_params": size,
        "step": max(first_step, num_steps),
        **evaluation,
        "baselines": baselines,
        "perf/tokens_per_s": statistics.median(log.tokens_per_s) if log.tokens_per_s else None,
        "sample": sample,
    }


def _load_data(
    experiment: Experiment, folder: Path, report: Report, *, fresh: bool
) -> tuple[TrainingData, Path | None]:
    """The text, and the checkpoint to resume from if there is one: then it must fit."""
    resume_from = saved = vocabulary = None
    if not fresh and checkpoint.saved_steps(folder):
        resume_from = checkpoint.find(folder)
        saved = checkpoint.read_run(resume_from)
        workdir.check_same_experiment(saved.experiment, experiment, folder)
        vocabulary = checkpoint.read_vocabulary(resume_from)
    data = load(
        experiment.data,
        vocab_size=experiment.model.vocab_size,
        seq_len=experiment.seq_len,
        batch_size=experiment.batch_size,
        vocabulary=vocabulary,
        report=report.line,
    )
    if saved is not None:
        workdir.check_same_data(saved, data.fingerprint, folder)
    return data, resume_from


def _check_space(
    abstract: TrainState, experiment: Experiment, folder: Path, *, fresh: bool
) -> None:
    """Raise WorkdirError unless the checkpoints to come fit on the disk, once --fresh has deleted
    those that are there."""
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))
    there = len(checkpoint.saved_steps(folder))
    missing = experiment.keep + 2 - (0 if fresh else there)
    freed = workdir.num_bytes(folder / checkpoint.FOLDER) if fresh else 0
    workdir.check_space(folder, missing, num_bytes, freed_bytes=freed)


def _initial_state(
    steps: Steps,
    abstract: TrainState,
    mesh: jax.sharding.Mesh,
    rules: sharding.Rules,
    resume_from: Path | None,
) -> tuple[TrainState, TrainState]:
    """A new or the saved state, laid out over the mesh, and the sharding of each of its arrays."""
    shardings = sharding.state_shardings(abstract, mesh, rules)
    if resume_from is None:
        return jax.jit(steps.init, out_shardings=shardings)(), shardings
    target = sharding.with_shardings(abstract, shardings)
    return checkpoint.read_state(resume_from, target), shardings


def _evaluate(
    eval_step, state: TrainState, data: TrainingData, rows_on_devices
) -> dict[str, float]:
    """The whole validation split: nats per token and bits per byte of its text."""
    batches = (
        sharding.put_batch(batch, rows_on_devices)
        for batch in data.validation.eval_batches(data.validation.batch_size)
    )
    evaluation = evaluate(eval_step, state.params, batches, data.num_validation_bytes)
    return {"eval/loss": evaluation.loss, "eval/bits_per_byte": evaluation.bits_per_byte}


def _sample(steps: Steps, state: TrainState, experiment: Experiment, data: TrainingData) -> str:
    """The opening of a held-out document, and how the model goes on from it."""
    opening = data.vocabulary.decode(data.validation.tokens[:8].tolist())
    # Without axis rules: they would shard a batch of one row.
    with nnx.logical_axis_rules(()):
        model = LanguageModel(experiment, steps.graphdef, state.params, data.vocabulary)
        sampling = Sampling(temperature=0.8, top_k=40, top_p=0.95)
        return opening + model.sample([opening], max_tokens=150, sampling=sampling)[0]
