"""The log of a run: each step's metrics, read from the devices, judged, and the speed added."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

from configs.experiment import Experiment
from zoo.planning.hardware import mfu
from zoo.runs.divergence import Watch
from zoo.runs.metrics import MetricsWriter
from zoo.runs.report import RunReport


class RunLog:
    """Read each step's metrics one step late, so that the host never waits for the devices."""

    def __init__(
        self,
        experiment: Experiment,
        flops_per_token: float,
        num_devices: int,
        padded_size: Callable[[int], int],
        writer: MetricsWriter | None,
        report: RunReport,
        watch: Watch,
        data_counters: Callable[[int], dict[str, float]],
        skipped_batches: int,
    ):
        """Open the log.

        Args:
          padded_size: the rows for which the step of a batch of so many rows is compiled.
          data_counters: the epochs and tokens in so many batches.
          skipped_batches: batches that no step has read; see `Session`.
        """
        self._experiment = experiment
        self._flops_per_token = flops_per_token
        self._num_devices = num_devices
        self._padded_size_of = padded_size
        self._writer = writer
        self._report = report
        self._watch = watch
        self._data_counters = data_counters
        self._skipped_batches = skipped_batches
        self._unread: tuple[int, dict[str, jax.Array]] | None = None
        self._timed_step: int | None = None  # the step at which the clock was last read
        self._padded_size: int | None = None  # the rows of the batches, padding included
        self._clock_start_s = self._paused_s = self._input_wait_s = 0.0
        self.tokens_per_s: list[float] = []

    def push(self, step: int, device_metrics: dict[str, jax.Array]) -> None:
        """Take the metrics of `step`, which is running, and record those of the step before."""
        size = self._batch_size(step)
        padded_size = self._padded_size_of(size)
        compiled = padded_size != self._padded_size
        if compiled:
            self._timed_step = None  # compilation counts for no step's speed
        if self._unread is not None:
            self.flush()
        self._unread = step, device_metrics
        if compiled:
            jax.block_until_ready(device_metrics)
            if self._padded_size is None:
                self._report.line(f"first loss {float(device_metrics['train/loss']):.3f}")
            else:
                self._report.line(
                    f"step {step}: compiled anew for {padded_size} sequences or fewer"
                )
            self._padded_size = padded_size
            self._restart_clock(step)

    def flush(self, evaluation: dict[str, float] | None = None) -> None:
        """Record the metrics of the newest step, with those of an evaluation after it.

        A value that is not finite is left out of the row. Raises DivergedStep, and records nothing,
        if the run cannot continue.
        """
        if self._unread is None:
            return
        step, device_metrics = self._unread
        self._unread = None
        values = {name: float(value) for name, value in device_metrics.items()}
        values |= evaluation or {}
        self._watch.judge(step, values)
        values |= self._speed(step)
        values |= self._data_counters(step + self._skipped_batches)
        if self._experiment.batch_ramp is not None:
            values["data/batch_size"] = self._batch_size(step)
        self._report.step(step, values)
        if self._writer is not None and (evaluation or step % self._experiment.log_every == 0):
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            self._writer.write(step, finite)

    @contextmanager
    def waiting_for_input(self) -> Iterator[None]:
        """Count the time of the block as waiting for a batch."""
        start_s = time.perf_counter()
        yield
        self._input_wait_s += time.perf_counter() - start_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out of the speed: evaluation, saving, samples."""
        start_s = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - start_s

    def _speed(self, step: int) -> dict[str, float]:
        """Return the average speed of the steps since the last call; {} for the first step."""
        if self._timed_step is None or step == self._timed_step:
            return {}
        num_rows = sum(map(self._batch_size, range(self._timed_step + 1, step + 1)))
        num_tokens = num_rows * self._experiment.seq_len
        elapsed_s = time.perf_counter() - self._clock_start_s - self._paused_s
        tokens_per_s = num_tokens / elapsed_s
        self.tokens_per_s.append(tokens_per_s)
        speed = {
            "perf/tokens_per_s": tokens_per_s,
            "perf/input_wait_s": self._input_wait_s / (step - self._timed_step),
        }
        utilisation = mfu(
            self._flops_per_token * tokens_per_s,
            jax.devices()[0].device_kind,
            self._num_devices,
            self._experiment.execution.dtype,
        )
        if utilisation is not None:
            speed["perf/mfu"] = utilisation
        self._restart_clock(step)
        return speed

    def _batch_size(self, step: int) -> int:
        """Return the rows of the batch of step 1, 2, ..."""
        return self._experiment.batch_sizes.size(step - 1 + self._skipped_batches)

    def _restart_clock(self, step: int) -> None:
        self._timed_step = step
        self._clock_start_s = time.perf_counter()
        self._paused_s = self._input_wait_s = 0.0
