"""One training run, from an experiment to a workdir. The mathematics of a step is in zoo/step.py."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from rich.console import Console

from data.training_data import TrainingData, load
from models.transformer import num_params
from zoo import checkpoint, flops, metrics, sharding, workdir
from zoo.checkpoint import CheckpointWriter, Run
from zoo.config import Experiment
from zoo.devices import describe_devices, unused_accelerator
from zoo.errors import DivergedError, StoppedError
from zoo.generate import Sampling
from zoo.language_model import LanguageModel
from zoo.launch import StopRequest
from zoo.metrics import MetricsWriter, Speedometer
from zoo.report import Report
from zoo.step import Steps, TrainState, make_steps


def train(
    name: str, experiment: Experiment, folder: Path, console: Console, *, fresh: bool
) -> dict[str, Any]:
    """Train until `experiment.num_steps`, going on from the newest checkpoint in `folder`.

    Returns what the run came to. Raises ConfigError, DataError, CheckpointError or WorkdirError for
    what a person can mend, DivergedError, and StoppedError with the state saved after a signal.
    """
    report = Report(console)
    workdir.prepare(folder)
    report.line(f"devices: {describe_devices()}, jax {jax.__version__}")
    if complaint := unused_accelerator():
        report.warn(complaint)
    accelerated = jax.default_backend() != "cpu"
    experiment = dataclasses.replace(
        experiment, execution=experiment.execution.resolve(accelerated=accelerated)
    )
    mesh = sharding.make_mesh(experiment.mesh, jax.device_count())
    rules = sharding.rules_for(experiment, mesh)
    size = num_params(experiment.model)
    token_flops = flops.train_flops_per_token(experiment.model, size, experiment.seq_len)
    report.model(name, experiment, size, token_flops * experiment.num_tokens)
    report.line(f"workdir: {folder}")

    data, resume_from = _load_data(experiment, folder, report, fresh=fresh)
    baselines = data.baselines()
    if fresh:  # only now that the new run is known to be possible
        workdir.clear(folder)
    steps = make_steps(experiment, num_batch_shards=mesh.shape["data"] * mesh.shape["fsdp"])
    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        state, shardings = _initial_state(steps, mesh, rules, experiment, folder, resume_from)
        first_step = int(state.step)
        workdir.write_config(folder, experiment)
        if resume_from is not None:
            report.line(f"resuming from {resume_from.relative_to(folder.absolute())}")
        train_step = jax.jit(steps.train_step, donate_argnums=0, out_shardings=(shardings, None))
        eval_step = jax.jit(steps.eval_step)
        rows_on_devices = sharding.batch_sharding(mesh)

        def log(step: int, device_metrics: dict[str, jax.Array], more: dict[str, float]) -> None:
            values = {key: float(value) for key, value in device_metrics.items()}
            if not math.isfinite(values["train/loss"] + values["train/grad_norm"]):
                raise DivergedError(
                    f"the loss or its gradient is no longer finite at step {step}; the newest "
                    f"checkpoint in {folder} is from before. Try a lower "
                    f"--optimizer.schedule.peak-lr than {experiment.optimizer.schedule.peak_lr}"
                )
            step_s, input_wait_s = speed.read(step)
            flops_per_s = token_flops * experiment.batch_tokens / step_s
            kind = jax.devices()[0].device_kind
            mfu = flops.mfu(flops_per_s, kind, mesh.size, experiment.execution.dtype)
            values["perf/tokens_per_s"] = experiment.batch_tokens / step_s
            values["perf/input_wait_s"] = input_wait_s
            if mfu is not None:
                values["perf/mfu"] = mfu
            report.step(step, values)
            if step % experiment.log_every == 0 or more:
                writer.write(step, values | more)

        with (
            workdir.writing(folder),
            CheckpointWriter(folder, Run(experiment, data.fingerprint), data.vocabulary) as saver,
            MetricsWriter(folder, first_step=first_step) as writer,
            report.bar(first_step, experiment.num_steps),
            StopRequest() as stop,
        ):
            speed = Speedometer(first_step)
            unlogged = None
            for step in range(first_step, experiment.num_steps):
                waiting_since_s = time.perf_counter()
                batch = sharding.put_batch(data.train.train_batch(step), rows_on_devices)
                speed.waited_for_input(time.perf_counter() - waiting_since_s)
                state, step_metrics = train_step(state, batch)
                if unlogged is not None:  # the step before, while the devices work on this one
                    log(*unlogged, {})
                unlogged = (step + 1, step_metrics)
                if step == first_step:
                    report.line(f"first loss {float(step_metrics['train/loss']):.3f}")

                done, stopping = step + 1, stop.signal is not None
                last = done == experiment.num_steps
                evaluates = last or done % experiment.eval_every == 0
                saves = last or stopping or done % experiment.save_every == 0
                if not (evaluates or saves):
                    continue
                jax.block_until_ready(step_metrics)
                evaluation = {}
                with speed.paused():
                    if evaluates:
                        evaluation = _evaluate(eval_step, state, data, rows_on_devices)
                        report.evaluation(done, evaluation, baselines)
                log(*unlogged, evaluation)
                unlogged = None
                with speed.paused():
                    if saves:
                        saver.save(state, done, evaluation or None)
                    if stopping:
                        break
                    if evaluates:
                        sample = _sample(steps, state, experiment, data)
                        workdir.append_sample(folder, done, sample)
                        writer.write_text("sample", sample, done)
                        metrics.plot_loss(folder, f"{name}, {size:,} parameters", baselines)
        if stop.signal is not None and int(state.step) < experiment.num_steps:
            raise StoppedError(
                f"{stop.signal.name}: saved step {int(state.step)} of {experiment.num_steps} in "
                f"{folder}; the same command without --fresh goes on from there",
                stop.exit_code,
            )
        sample = _sample(steps, state, experiment, data)
    summary = _summary(name, folder, experiment, size, baselines, sample)
    report.end(summary, baselines)
    return summary


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


def _initial_state(
    steps: Steps,
    mesh: jax.sharding.Mesh,
    rules: sharding.Rules,
    experiment: Experiment,
    folder: Path,
    resume_from: Path | None,
) -> tuple[TrainState, TrainState]:
    """A new or the saved state, laid out over the mesh, and the sharding of each of its arrays."""
    abstract = jax.eval_shape(steps.init)
    shardings = sharding.state_shardings(abstract, mesh, rules)
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))
    workdir.check_space(folder, experiment.keep + 2, num_bytes)
    if resume_from is None:
        return jax.jit(steps.init, out_shardings=shardings)(), shardings
    target = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )
    return checkpoint.read_state(resume_from, target), shardings


def _evaluate(
    eval_step, state: TrainState, data: TrainingData, rows_on_devices
) -> dict[str, float]:
    """The whole validation split: nats per token and bits per byte of its text."""
    sums = [
        eval_step(state.params, sharding.put_batch(batch, rows_on_devices))
        for batch in data.validation.eval_batches(data.validation.batch_size)
    ]
    nats = sum(float(each.nats) for each in sums)
    return {
        "eval/loss": nats / sum(float(each.tokens) for each in sums),
        "eval/bits_per_byte": nats / math.log(2) / data.num_validation_bytes,
    }


def _sample(steps: Steps, state: TrainState, experiment: Experiment, data: TrainingData) -> str:
    """The opening of a held-out document, and how the model goes on from it."""
    opening = data.vocabulary.decode(data.validation.tokens[:8].tolist())
    # Without axis rules: they would shard a batch of one row.
    with nnx.logical_axis_rules(()):
        model = LanguageModel(experiment, steps.graphdef, state.params, data.vocabulary)
        sampling = Sampling(temperature=0.8, top_k=40, top_p=0.95)
        return opening + model.sample([opening], max_tokens=150, sampling=sampling)[0]


def _summary(
    name: str, folder: Path, experiment: Experiment, size: int, baselines: dict, sample: str
) -> dict[str, Any]:
    rows = metrics.read_metrics(folder)
    evaluations = [row for row in rows if "eval/loss" in row]
    speeds = sorted(row["perf/tokens_per_s"] for row in rows)
    return {
        "model": name,
        "workdir": str(folder),
        "num_params": size,
        "num_steps": experiment.num_steps,
        "train/loss": rows[-1]["train/loss"],
        "eval/loss": evaluations[-1]["eval/loss"],
        "eval/bits_per_byte": evaluations[-1]["eval/bits_per_byte"],
        "baselines": baselines,
        "perf/tokens_per_s": speeds[len(speeds) // 2],
        "sample": sample,
    }
