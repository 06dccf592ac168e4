"""The open files and threads of a run: batches, records, checkpoints and signals."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import jax

from data.batches.readers import Reader
from zoo.checkpoints.checkpoint import Run
from zoo.checkpoints.history import Event, History
from zoo.checkpoints.writer import CheckpointWriter
from zoo.common import folders
from zoo.common.serialize import to_json
from zoo.common.signals import StopRequest
from zoo.distribution.batches import BatchLayout
from zoo.distribution.hosts import Hosts, StopVote
from zoo.reporting.reporter import Reporter
from zoo.runs import workdir
from zoo.runs.divergence import Watch
from zoo.runs.events import EventsWriter
from zoo.runs.log import RunLog
from zoo.runs.metrics import MetricsWriter
from zoo.runs.prefetch import prefetched
from zoo.runs.report import RunReport
from zoo.runs.setup import Setup
from zoo.training.step import Batch, TrainState


@dataclass(frozen=True, eq=False)
class Session:
    """The open files and threads of one run, from its first step to its last."""

    setup: Setup
    log: RunLog
    _take_batch: Callable[[], Batch]
    _watch: Watch
    _reader: Reader
    _checkpoints: CheckpointWriter
    _metrics: MetricsWriter | None
    """None in all processes but the primary one."""
    _stop: StopRequest
    _vote: StopVote
    _reporter: Reporter | None
    """None in all processes but the primary one."""

    def next_batch(self) -> Batch:
        """Return the batch of the next step, on the devices."""
        with self.log.waiting_for_input():
            return self._take_batch()

    def stop_signal(self) -> signal.Signals | None:
        """Return the signal that asks this run to stop, the same in all processes, or None."""
        return self._vote(self._stop.signal)

    def save(self, state: TrainState, step: int, evaluation: dict[str, float] | None) -> None:
        """Start writing the checkpoint of `step`."""
        batch = step + self.setup.history.skipped_batches
        counters, stream = self._reader.counters(batch), self._reader.state(batch)
        self._checkpoints.save(state, step, evaluation, self.history, counters, stream)

    @property
    def history(self) -> History:
        """The run's events and its best evaluation until now."""
        return self._watch.history

    def note_evaluation(self, step: int, loss: float) -> None:
        """Take the validation loss after `step`; see `Session.history`."""
        self._watch.note_evaluation(step, loss)

    def record_sample(self, step: int, text: str) -> None:
        """Write a sample of the model after `step`, and the run's page so far."""
        if self._metrics is not None and self._reporter is not None:
            workdir.write_sample(self.setup.folder, step, text)
            self._metrics.write_text("sample", text, step)
            self._reporter.refresh()


@contextmanager
def open_session(
    setup: Setup,
    first_step: int,
    report: RunReport,
    hosts: Hosts,
    reporter: Reporter | None,
) -> Iterator[Session]:
    """Open the session, and close it when the block ends, with the last checkpoint on the disk.

    Raises WorkdirError if something cannot be written, ConfigError if the tracker cannot start.
    """
    experiment, program, data, folder = setup.experiment, setup.program, setup.data, setup.folder
    with folders.writing(folder), ExitStack() as stack:
        hosts.on_primary(lambda: workdir.write_config(folder, experiment))
        run = Run(experiment, data.fingerprint)
        checkpoints = stack.enter_context(CheckpointWriter(folder, run, data.vocabulary))
        writer = events = None

        def open_records() -> None:
            nonlocal writer, events
            if reporter is not None:
                events = stack.enter_context(EventsWriter(folder, setup.history))
                trackers = reporter.start_tracker(to_json(experiment), first_step)
                writer = stack.enter_context(
                    MetricsWriter(folder, first_step=first_step, trackers=trackers)
                )

        hosts.on_primary(open_records)
        stack.enter_context(report.bar(first_step, experiment.num_steps))
        stop = stack.enter_context(StopRequest(setup.deadline_s))
        # Step k reads batch k + skipped: rewinds leave batches out.
        skipped = setup.history.skipped_batches
        first_batch = first_step + skipped
        discarded = range(first_batch - setup.discarded_batches, first_batch)

        def layout_of(batch: int) -> BatchLayout:
            return program.layout_of(experiment.batch_sizes.size(batch))

        def open_reader() -> Reader:
            reader = data.read_from(discarded.start, setup.stream, report.line)
            for batch in discarded:
                reader.discard(batch, layout_of(batch).rows)
            return reader

        def make_batch(step: int) -> dict[str, jax.Array]:
            layout = layout_of(step + skipped)
            return layout.put(reader.train_batch(step + skipped, layout.rows))

        def publish(event: Event) -> None:
            report.warn(f"step {event.step}: {event.message}")
            if events is not None:
                events.write(event)

        reader = stack.enter_context(closing(hosts.together(open_reader)))
        steps = range(first_step, experiment.num_steps)
        take_batch = stack.enter_context(prefetched(make_batch, steps))
        watch = Watch(experiment.divergence, setup.history, publish)
        log = RunLog(
            experiment,
            setup.flops_per_token,
            program.mesh.size,
            lambda size: program.layout_of(size).batch_size,
            writer,
            report,
            watch,
            reader.counters,
            skipped,
        )
        vote = StopVote(program.mesh)
        yield Session(
            setup, log, take_batch, watch, reader, checkpoints, writer, stop, vote, reporter
        )
