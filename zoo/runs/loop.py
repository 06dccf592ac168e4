"""The training loop. The mathematics of a step is in zoo/training/step.py."""

import signal
import statistics
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from configs.experiment import Experiment
from configs.parts.objectives import NextToken
from zoo.checkpoints import checkpoint
from zoo.checkpoints.history import Event, History
from zoo.common import folders
from zoo.common.errors import DivergedError, StoppedError
from zoo.common.html import element, table
from zoo.common.signals import StopRequest
from zoo.contrasts.sample_text import sample_text
from zoo.distribution.hosts import Hosts
from zoo.inference.evaluation import evaluate
from zoo.reporting.reporter import PLOT_FILE, Reporter
from zoo.runs.divergence import DivergedStep, abort_message, rewind_after
from zoo.runs.events import write_events
from zoo.runs.metrics import read_metrics
from zoo.runs.report import RunReport
from zoo.runs.session import open_session
from zoo.runs.setup import Setup, go_back, initial_state
from zoo.training.step import TrainState


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a finished run."""

    name: str
    workdir: Path
    num_params: int
    step: int
    """The last step that was taken."""
    evaluation: dict[str, float]
    """`eval/loss` and, if the model gives texts a probability, `eval/bits_per_byte` of the whole
    validation split."""
    baselines: dict[str, float]
    """Bits per byte that compressors reach on the same text, by name."""
    events: dict[str, int]
    """Number of spikes, skipped updates and rewinds, by kind; those that happened."""
    tokens_per_s: float | None
    """The median speed; None if no step was timed."""
    sample: str
    """A held-out opening and the model's continuation."""

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.jsonl, one per logged step."""
        return read_metrics(self.workdir)

    def _repr_html_(self) -> str:
        """Return the outcome as a table above the curves of the loss, for a notebook."""
        bits_per_byte = self.evaluation.get("eval/bits_per_byte")
        speed = "not measured" if self.tokens_per_s is None else f"{self.tokens_per_s:,.0f}"
        rows = [
            ("parameters", f"{self.num_params:,}"),
            ("steps", f"{self.step:,}"),
            ("validation loss, nats", f"{self.evaluation['eval/loss']:.4f}"),
            (
                "bits per byte",
                "none" if bits_per_byte is None else f"{bits_per_byte:.4f}",
            ),
            *((name, f"{value:.4f}") for name, value in self.baselines.items()),
            ("tokens per second", speed),
            ("everything else", f"{self.workdir}/report.html"),
        ]
        plot = b64encode((self.workdir / PLOT_FILE).read_bytes()).decode()
        curves = element("img", src=f"data:image/png;base64,{plot}", alt="the loss", width="800")
        return element("div", element("h3", self.name), table((), rows), curves).text

    def summary(self) -> dict[str, Any]:
        """The object that `python -m zoo.train --json` prints."""
        return {
            "model": self.name,
            "workdir": str(self.workdir),
            "num_params": self.num_params,
            "step": self.step,
            **self.evaluation,
            "baselines": self.baselines,
            "events": self.events,
            "perf/tokens_per_s": self.tokens_per_s,
            "sample": self.sample,
        }


def run(setup: Setup, report: RunReport, hosts: Hosts, reporter: Reporter | None) -> TrainingResult:
    """Train until the experiment's `num_steps`, from the newest checkpoint if there is one.

    `reporter`: None in all processes but the primary one.

    Raises DivergedError, WorkdirError, and StoppedError with the state saved after a signal.
    """
    while True:
        try:
            return _train(setup, report, hosts, reporter)
        except DivergedStep as error:
            diverged = error.with_traceback(None)  # whose frames hold the state
        setup = _recover(setup, diverged, report, hosts)


def _recover(setup: Setup, diverged: DivergedStep, report: RunReport, hosts: Hosts) -> Setup:
    """Go back to an earlier checkpoint if that is the policy. Raises DivergedError if not."""
    saved = hosts.gather(checkpoint.saved_steps(setup.folder))[0]
    rewind = rewind_after(diverged, saved, setup.experiment)
    if rewind is not None:
        event, history = rewind
        report.warn(f"step {event.step}: {event.message}")
        return go_back(setup, int(event.numbers["to_step"] or 0), history, report, hosts)
    event = Event(diverged.step, "abort", diverged.reason, diverged.numbers)
    hosts.on_primary(lambda: _write_events(setup.folder, diverged.history.with_event(event)))
    command = report.resuming_command()
    raise DivergedError(abort_message(diverged, setup.experiment, setup.folder, saved, command))


def _write_events(folder: Path, history: History) -> None:
    with folders.writing(folder):
        write_events(folder, history)


def _train(
    setup: Setup, report: RunReport, hosts: Hosts, reporter: Reporter | None
) -> TrainingResult:
    """Train as `run`, until a step diverges: raises DivergedStep once all files are closed."""
    experiment, program = setup.experiment, setup.program
    evaluation, stopped_by = None, None
    with program.entered():
        state = initial_state(setup)
        first_step = done = int(state.step)
        num_steps = first_step if _is_converged(setup.history, experiment) else experiment.num_steps
        report.start(first_step, experiment, setup.resume_from, setup.folder)
        with open_session(setup, first_step, report, hosts, reporter) as session:
            log = session.log
            for step in range(first_step, num_steps):
                batch = session.next_batch()
                state, metrics = program.train_step(state, batch)
                done = step + 1
                log.push(done, metrics)

                stopped_by = session.stop_signal()
                evaluates = done == num_steps or done % experiment.eval_every == 0
                saves = done == num_steps or done % experiment.save_every == 0 or stopped_by
                evaluation, converged, is_best = None, False, False
                if evaluates:
                    jax.block_until_ready(metrics)  # so that the step counts as training
                    with log.paused():
                        evaluation = evaluate_run(setup, state)
                        report.evaluation(done, evaluation, setup.baselines)
                    session.note_evaluation(done, evaluation["eval/loss"])
                    converged = _is_converged(session.history, experiment)
                    # A run that waits for its best evaluation must have the weights of it.
                    is_best = experiment.patience and session.history.best_step == done
                if evaluates or saves:
                    # Before saving: what `flush` finds diverged is never saved.
                    log.flush(evaluation)
                with log.paused():
                    if saves or converged or is_best:
                        session.save(state, done, evaluation)
                    if stopped_by:
                        break
                    if evaluates:
                        session.record_sample(done, sample_run(setup, state))
                    if converged:
                        break
        history = session.history
        converged = done < experiment.num_steps and _is_converged(history, experiment)
        if converged:
            report.converged(done, history, setup.folder)
        elif stopped_by is not None and done < num_steps:
            raise StoppedError(
                f"{_reason(stopped_by)}: saved step {done} of {num_steps} in {setup.folder}; the "
                "same command without --fresh resumes from there",
                StopRequest.EXIT_CODES[stopped_by],
            )
        evaluation = evaluation or evaluate_run(setup, state)
        sample = sample_run(setup, state)
    events = history.counts()
    report.events(events, setup.folder)
    report.end(
        setup.folder,
        experiment,
        evaluation.get("eval/bits_per_byte"),
        setup.baselines,
        sample,
        converged=converged,
    )
    return TrainingResult(
        name=setup.name,
        workdir=setup.folder,
        num_params=setup.num_params,
        step=done,
        evaluation=evaluation,
        baselines=setup.baselines,
        events=events,
        tokens_per_s=statistics.median(log.tokens_per_s) if log.tokens_per_s else None,
        sample=sample,
    )


def _is_converged(history: History, experiment: Experiment) -> bool:
    """Return whether the validation loss has not fallen for as long as the experiment waits."""
    patience = experiment.patience
    return patience is not None and history.worse_evaluations >= patience


def _reason(stopped_by: signal.Signals) -> str:
    return "--max-hours is over" if stopped_by == signal.SIGALRM else stopped_by.name


def evaluate_run(setup: Setup, state: TrainState) -> dict[str, float]:
    """Return the loss, and bits per byte if there are any, of the whole validation split."""
    data, layout = setup.data, setup.program.batch_layout
    batches = map(layout.put, data.validation.eval_batches(layout.batch_size, layout.rows))
    result = evaluate(setup.program.eval_step, state.params, batches, data.num_validation_bytes)
    if not isinstance(setup.experiment.objective, NextToken):
        return {"eval/loss": result.loss}
    return {"eval/loss": result.loss, "eval/bits_per_byte": result.bits_per_byte}


def sample_run(setup: Setup, state: TrainState) -> str:
    """Return the opening of a held-out document and the model's continuation.

    An encoder fills gaps in a text instead.
    """
    parts = setup.experiment, setup.program.graphdef, state.params, setup.data.vocabulary
    # Without axis rules: they would shard a batch of one row.
    with nnx.logical_axis_rules(()):
        return sample_text(*parts, setup.data.opening)
