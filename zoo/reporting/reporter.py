"""The record, the plot and the page of a run, kept up to date while it trains."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from models.config import ConfigError
from zoo.common.errors import StoppedError
from zoo.common.folders import writing
from zoo.common.tolerance import Tolerated
from zoo.reporting.curves import line
from zoo.reporting.history import HistoryReader
from zoo.reporting.markup import Reload
from zoo.reporting.plots import Line, Panel, picture
from zoo.reporting.record import FINISHED, RunRecord, Start, now, read_record, write_whole
from zoo.reporting.recorded_run import BITS_PER_BYTE, CONFIG_FILE, RecordedRun, read_run
from zoo.reporting.run_page import REPORT_FILE, run_page
from zoo.reporting.trackers import Tracker, TrackerName, start_tracker

PLOT_FILE = "loss.png"
REFRESH_S = 60
"""Seconds after which a browser loads the page of a run under way again."""


class Warnings(Protocol):
    """The terminal output of a run, as far as its page needs it."""

    warnings: list[str]

    def warn(self, text: str) -> None:
        """Show a warning and add it to `warnings`."""
        ...


class Reporter:
    """Write run.json, loss.png and report.html of a run. Only its primary process has one."""

    def __init__(
        self,
        workdir: Path,
        record: RunRecord,
        start: Start,
        output: Warnings,
        track: TrackerName | None = None,
    ):
        earlier = read_record(workdir) if start.first_step else None
        record.starts = [*(earlier.starts if earlier else ()), start]
        self._workdir, self._record, self._start, self._output = workdir, record, start, output
        self._track: TrackerName | None = track
        self._has_tracked = False
        self._reader = HistoryReader(workdir)

    def start_tracker(self, config: dict[str, Any], first_step: int) -> list[Tracker]:
        """Return the tracker that --track names, if any, for the steps after `first_step`.

        `config`: as `to_json` values. Raises ConfigError if the tracker cannot start; of a run that
        has trained already and rewinds, that is a warning.
        """
        if self._track is None:
            return []
        name, warn, goes_back = self._record.name, self._output.warn, False
        if self._reader.read().step > first_step:
            name, goes_back = f"{name} from step {first_step}", True
        try:
            tracker = start_tracker(
                self._track, self._workdir, name, config, warn, goes_back=goes_back
            )
        except ConfigError as error:
            if not self._has_tracked:
                raise
            warn(str(error))
            return []
        self._has_tracked = True
        return [tracker]

    def refresh(self) -> None:
        """Write run.json and report.html anew, and loss.png once the run has ended.

        A page that cannot be drawn does not end the run.
        """
        self._start.updated_at, self._start.warnings = now(), list(self._output.warnings)
        self._record.write(self._workdir)
        # A full disk is the run's problem, too; a bug in a picture is not.
        with Tolerated(self._not_drawn, but=(OSError,)):
            run = read_run(self._workdir, self._reader.read())
            live = None if self._start.outcome else Reload(REFRESH_S)
            write_whole(self._workdir / REPORT_FILE, run_page(run, live=live))
            if self._start.outcome:  # drawing it takes 50 times as long as the page
                plot_loss(run)

    def _not_drawn(self, error: Exception) -> None:
        self._output.warn(f"{REPORT_FILE} could not be drawn: {type(error).__name__}: {error}")

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the outcome of the block: finished, or the error with which it ended.

        Raises WorkdirError if a file cannot be written.
        """
        with writing(self._workdir):
            self._record.write(self._workdir)
        try:
            yield
        except BaseException as error:
            self._start.outcome = _outcome(error)
            with suppress(OSError):  # the error itself says more
                if (self._workdir / CONFIG_FILE).exists():
                    self.refresh()
            raise
        self._start.outcome = FINISHED
        with writing(self._workdir):
            self.refresh()


def plot_loss(run: RecordedRun) -> None:
    """Draw loss.png: the training loss, and bits per byte against the compressors."""
    panels = [
        Panel("training loss", "step", "nats per token", _lines(run, "train/loss")),
        Panel(
            "validation", "step", "bits per byte", _lines(run, BITS_PER_BYTE), run.record.baselines
        ),
    ]
    size = "" if run.num_params is None else f", {run.num_params:,} parameters"
    write_whole(run.workdir / PLOT_FILE, picture(panels, f"{run.record.name}{size}"))


def _lines(run: RecordedRun, name: str) -> list[Line]:
    return [line(run.history, name, name)] if name in run.history.curves else []


def _outcome(error: BaseException) -> str:
    if isinstance(error, StoppedError):
        return f"stopped: {error}"
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    first_line = (str(error).splitlines() or [""])[0]
    return f"failed: {type(error).__name__}: {first_line}"[:500]
