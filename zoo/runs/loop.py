"""One training run, from an experiment to a workdir. The mathematics of a step is in zoo/training/step.py."""

import dataclasses
import signal
import statistics
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from data.errors import DataError
from data.training_data import TrainingData, load
from models.config import ConfigError, check
from models.transformer import num_params
from zoo.planning import auto_mesh
from zoo import folders
from zoo.checkpoints import checkpoint
from zoo.runs import metrics
from zoo.distribution import sharding
from zoo.runs import workdir
from zoo.distribution.hosts import Hosts, StopVote, launched_as
from zoo.checkpoints.checkpoint import Run
from zoo.checkpoints.writer import CheckpointWriter
from configs.experiment import Experiment
from zoo.distribution.devices import (
    bytes_per_device,
    describe_devices,
    num_neighbours,
    unused_accelerator,
)
from zoo.errors import StoppedError, WorkdirError
from zoo.inference.evaluation import evaluate
from models.flops import train_flops_palm
from zoo.inference.decode import Sampling
from zoo.inference.language_model import LanguageModel
from zoo.runs.signals import StopRequest
from zoo.runs.metrics import MetricsWriter
from zoo.runs.prefetch import prefetched
from zoo.runs.report import RunReport
from zoo.runs.log import RunLog
from zoo.distribution.sharding import Placement
from zoo.training.step import Steps, TrainState, make_steps


def train(
    name: str,
    experiment: Experiment,
    folder: Path,
    report: RunReport,
    hosts: Hosts = Hosts(),
    *,
    fresh: bool,
) -> dict[str, Any]:
    """Train until `experiment.num_steps`, going on from the newest checkpoint in `folder`.

    Returns what the run came to. Raises ConfigError, DataError, CheckpointError or WorkdirError for
    what a person can mend, DivergedError, and StoppedError with the state saved after a signal; on
    several hosts also OtherHostError, for what another one cannot go on with.
    """
    hosts.require_same("what to run", launched_as(experiment, fresh=fresh), ConfigError)
    hosts.on_primary(lambda: workdir.prepare(folder))
    report.line(f"devices: {describe_devices()}, jax {jax.__version__}")
    if complaint := unused_accelerator():
        report.warn(complaint)
    accelerated = jax.default_backend() != "cpu"
    experiment = dataclasses.replace(
        experiment, execution=experiment.execution.resolve(accelerated=accelerated)
    )
    if experiment.mesh.auto:
        chosen, why = auto_mesh.choose(
            experiment, jax.device_count(), bytes_per_device(), num_neighbours()
        )
        hosts.require_same("the mesh", dataclasses.asdict(chosen), ConfigError)
        report.line(f"mesh: {why}")
        experiment = dataclasses.replace(experiment, mesh=chosen)
    num_rows = experiment.batch_size // experiment.micro_batches
    mesh = sharding.make_mesh(experiment.mesh, jax.device_count(), num_rows)
    if mesh.size < jax.device_count():
        check(jax.process_count() == 1,
              f"a batch of {num_rows} sequences divides over {mesh.size} of {jax.device_count()} "
              "devices, and a run of several processes needs all; raise --batch-tokens, or split the "
              "model with --mesh.tensor")  # fmt: skip
        report.warn(
            f"{mesh.size} of {jax.device_count()} devices are used: a batch of {num_rows} sequences "
            "divides no further; raise --batch-tokens, or split the model with --mesh.tensor"
        )
    rules = sharding.rules_for(experiment, mesh)
    hosts.connect(mesh)
    size = num_params(experiment.model)
    token_flops = train_flops_palm(experiment.model, size, experiment.seq_len)
    report.model(name, experiment, size, token_flops * experiment.num_tokens)
    report.line(f"workdir: {folder}")

    place = Placement(sharding.batch_sharding(mesh), experiment.batch_size)
    data, resume_from, stream = _load_data(experiment, folder, place, report, hosts, fresh=fresh)
    baselines = hosts.in_turn(data.baselines)
    steps = make_steps(experiment, mesh)
    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        abstract = jax.eval_shape(steps.init)
        hosts.on_primary(lambda: _make_room(abstract, experiment, folder, fresh=fresh))
        shardings = sharding.state_shardings(abstract, mesh, rules)
        state = _initial_state(steps, abstract, shardings, experiment, resume_from)
        first_step, num_steps = int(state.step), experiment.num_steps
        if hosts.is_primary:
            workdir.write_config(folder, experiment)
        if first_step >= num_steps:
            report.line(f"finished before: step {first_step} is saved, --num-steps is {num_steps}")
        elif resume_from is not None:
            report.line(f"resuming from {resume_from.relative_to(folder.absolute())}")
        elif experiment.init_from is not None:
            report.line(f"starting from the parameters of {experiment.init_from}")
        train_step = jax.jit(steps.train_step, donate_argnums=0, out_shardings=(shardings, None))
        eval_step = jax.jit(steps.eval_step)
        evaluation: dict[str, float] = {}
        stopped_by: signal.Signals | None = None

        with (
            folders.writing(folder),
            CheckpointWriter(folder, Run(experiment, data.fingerprint), data.vocabulary) as saver,
            MetricsWriter(folder, first_step=first_step)
            if hosts.is_primary
            else nullcontext() as writer,
            report.bar(first_step, num_steps),
            StopRequest() as stop,
            closing(
                hosts.together(lambda: data.read_from(first_step, stream, report.line))
            ) as reader,
            prefetched(
                lambda step: place(reader.train_batch(step)), range(first_step, num_steps)
            ) as next_batch,
        ):
            log = RunLog(experiment, token_flops, mesh.size, writer, report, reader.counters)
            vote = StopVote(mesh)
            for step in range(first_step, num_steps):
                with log.waiting_for_input():
                    batch = next_batch()
                state, step_metrics = train_step(state, batch)
                log.push(step + 1, step_metrics)

                done, stopped_by = step + 1, vote(stop.signal)
                evaluates = done == num_steps or done % experiment.eval_every == 0
                saves = done == num_steps or done % experiment.save_every == 0 or stopped_by
                evaluation = {}
                if evaluates:
                    jax.block_until_ready(step_metrics)
                    with log.paused():
                        evaluation = _evaluate(eval_step, state, data, place)
                        report.evaluation(done, evaluation, baselines)
                if evaluates or saves:
                    log.flush(evaluation)  # before saving: it refuses what is not finite
                with log.paused():
                    if saves:
                        counters = reader.counters(done)
                        saver.save(state, done, evaluation or None, counters, reader.state(done))
                    if stopped_by:
                        break
                    if evaluates:
                        sample = _sample(steps, state, experiment, data)
                        if writer is not None:
                            workdir.write_sample(folder, done, sample)
                            writer.write_text("sample", sample, done)
                            metrics.plot_loss(folder, f"{name}, {size:,} parameters", baselines)
        if stopped_by is not None and int(state.step) < num_steps:
            raise StoppedError(
                f"{stopped_by.name}: saved step {int(state.step)} of {num_steps} in {folder}; the "
                "same command without --fresh goes on from there",
                StopRequest.EXIT_CODES[stopped_by],
            )
        evaluation = evaluation or _evaluate(eval_step, state, data, place)
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
    experiment: Experiment,
    folder: Path,
    place: Placement,
    report: RunReport,
    hosts: Hosts,
    *,
    fresh: bool,
) -> tuple[TrainingData, Path | None, dict[str, bytes] | None]:
    """The text, the checkpoint to resume from if there is one, and where that stood in streamed text:
    it must fit, or the text begins anew."""
    resume_from = saved = vocabulary = stream = None
    steps = checkpoint.saved_steps(folder)
    hosts.require_same("the workdir", {"newest checkpoint": steps[-1:]}, WorkdirError)
    if steps and not fresh:
        resume_from = checkpoint.find(folder)
        saved = checkpoint.read_run(resume_from)
        if saved.imported_from is not None:
            raise ConfigError(
                f"--workdir={folder} holds imported weights, not a run; train them with "
                f"--init-from={folder} and another --workdir"
            )
        workdir.check_same_experiment(saved.experiment, experiment, folder)
        vocabulary = checkpoint.read_vocabulary(resume_from)
    elif experiment.init_from is not None:
        init_from = checkpoint.find(experiment.init_from, flag="--init-from")
        model = checkpoint.read_run(init_from).experiment.model
        workdir.check_same_architecture(model, experiment.model, experiment.init_from)
        vocabulary = checkpoint.read_vocabulary(init_from)
    data = hosts.in_turn(
        lambda: load(
            experiment.data,
            vocab_size=experiment.model.vocab_size,
            seq_len=experiment.seq_len,
            batch_size=experiment.batch_size,
            rows=place.rows,
            vocabulary=vocabulary,
            report=report.line,
        )
    )
    hosts.require_same("the text", data.fingerprint, DataError)
    if saved is not None and resume_from is not None:
        note = workdir.check_same_data(
            saved, data.fingerprint, folder, allow_change=experiment.data.allow_change
        )
        if note is None:
            stream = hosts.together(lambda: checkpoint.read_stream(resume_from))
        else:
            report.warn(note)
    return data, resume_from, stream


def _make_room(abstract: TrainState, experiment: Experiment, folder: Path, *, fresh: bool) -> None:
    """With --fresh delete the run that is there, now that the new one is known to be possible. Raises
    WorkdirError unless the checkpoints to come then fit on the disk."""
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))
    there = len(checkpoint.saved_steps(folder))
    missing = experiment.keep + 2 - (0 if fresh else there)
    freed = folders.num_bytes(folder / checkpoint.FOLDER) if fresh else 0
    folders.check_space(folder, missing, num_bytes, freed_bytes=freed)
    if fresh:
        workdir.clear(folder)


def _initial_state(
    steps: Steps,
    abstract: TrainState,
    shardings: TrainState,
    experiment: Experiment,
    resume_from: Path | None,
) -> TrainState:
    """The saved state, or one of step 0 with random or given parameters, laid out over the mesh."""
    target = sharding.with_shardings(abstract, shardings)
    if resume_from is not None:
        return checkpoint.read_state(resume_from, target)
    if experiment.init_from is None:
        return jax.jit(steps.init, out_shardings=shardings)()
    params = checkpoint.read_params_like(checkpoint.find(experiment.init_from), target.params)
    return jax.jit(steps.start, out_shardings=shardings, donate_argnums=0)(params)


def _evaluate(
    eval_step, state: TrainState, data: TrainingData, place: Placement
) -> dict[str, float]:
    """The whole validation split: nats per token and bits per byte of its text."""
    batches = map(place, data.validation.eval_batches(data.validation.batch_size, place.rows))
    evaluation = evaluate(eval_step, state.params, batches, data.num_validation_bytes)
    return {"eval/loss": evaluation.loss, "eval/bits_per_byte": evaluation.bits_per_byte}


def _sample(steps: Steps, state: TrainState, experiment: Experiment, data: TrainingData) -> str:
    """The opening of a held-out document, and how the model goes on from it."""
    opening = data.vocabulary.decode(data.opening)
    # Without axis rules: they would shard a batch of one row.
    with nnx.logical_axis_rules(()):
        model = LanguageModel(experiment, steps.graphdef, state.params, data.vocabulary)
        sampling = Sampling(temperature=0.8, top_k=40, top_p=0.95)
        return opening + model.sample([opening], max_tokens=150, sampling=sampling)[0]
