"""Experiment trackers, each behind the same three methods: TensorBoard, wandb, MLflow, Trackio.

A tracker gets what metrics.jsonl gets. A resumed run goes on in the tracker's same run, whose id is
in the workdir's tracking.json. A run that goes back, over steps that the tracker has, becomes a new
run there: no tracker but TensorBoard can forget a step. The trackers' own environment variables
hold (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, TRACKIO_DIR, ...).
"""

import importlib
import importlib.util
import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from html import escape
from pathlib import Path
from typing import Any, Literal, Protocol

from models.config import ConfigError
from zoo.common.serialize import leaves
from zoo.common.tolerance import Tolerated
from zoo.reporting.record import write_whole

TrackerName = Literal["wandb", "mlflow", "trackio"]
TRACKING_FILE, EVENTS_FOLDER = "tracking.json", "tensorboard"
_PROJECT = "gpt-zoo"
_MLFLOW_FILE, _MLFLOW_FOLDER = "mlflow.db", "mlartifacts"
_REMEDIES: dict[TrackerName, str] = {
    "wandb": "run wandb login, set WANDB_MODE=offline",
    "mlflow": "correct MLFLOW_TRACKING_URI",
    "trackio": "correct TRACKIO_DIR",
}


class Tracker(Protocol):
    """The writer of one run's numbers and texts."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Record the numbers of a step."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """Record a text, such as a sample."""
        ...

    def close(self, *, failed: bool) -> None:
        """Send what is left and end the run as finished or failed."""
        ...


class TensorBoard:
    """Event files in the workdir, which `tensorboard --logdir` shows."""

    def __init__(self, workdir: Path, first_step: int):
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(
            str(workdir / EVENTS_FOLDER),
            purge_step=first_step + 1,
            filename_suffix=f".{first_step}",  # two runs in one second would share a file
        )

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Write one event per number."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def text(self, step: int, name: str, text: str) -> None:
        """Write one event."""
        self._events.add_text(name, text, step)

    def close(self, *, failed: bool) -> None:
        """Flush the file."""
        del failed
        self._events.close()


class Wandb:
    """A run of Weights & Biases; with WANDB_MODE=offline in the workdir, for `wandb sync`."""

    def __init__(self, workdir: Path, name: str, config: dict[str, Any], run_id: str | None):
        wandb = importlib.import_module("wandb")  # an extra: the type checker need not find it
        self.run_id = run_id or secrets.token_hex(4)
        self._html = wandb.Html
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=name if run_id is None else None,
            id=self.run_id,
            resume="allow",
            dir=str(workdir),
            config=config,
            allow_val_change=True,  # a resumed run may change some fields
        )
        # wandb's own step may not go back, as that of a run that resumes or rewinds does.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Log the numbers with their step."""
        self._run.log({**values, "step": step})

    def text(self, step: int, name: str, text: str) -> None:
        """Log the text as a page."""
        self._run.log({name: self._html(f"<pre>{escape(text)}</pre>"), "step": step})

    def close(self, *, failed: bool) -> None:
        """Upload the rest."""
        self._run.finish(exit_code=int(failed))


class Mlflow:
    """A run of MLflow, in the workdir unless a tracking server or store is named."""

    def __init__(self, workdir: Path, name: str, config: dict[str, Any], run_id: str | None):
        mlflow = importlib.import_module("mlflow")
        entities = importlib.import_module("mlflow.entities")
        store = artifacts = None
        if not mlflow.is_tracking_uri_set():  # MLflow would write to the current folder
            store = f"sqlite:///{workdir.absolute() / _MLFLOW_FILE}"
            artifacts = (workdir.absolute() / _MLFLOW_FOLDER).as_uri()
        self._metric, self._client = entities.Metric, mlflow.MlflowClient(store)
        self._pending: list[Any] = []  # calls that MLflow makes in a thread of its own
        if run_id is None:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
            found = self._client.get_experiment_by_name(experiment)
            experiment_id = (
                self._client.create_experiment(experiment, artifact_location=artifacts)
                if found is None
                else found.experiment_id
            )
            run_id = self._client.create_run(experiment_id, run_name=name).info.run_id
            params = [entities.Param(key, str(value)[:500]) for key, value in config.items()]
            for start in range(0, len(params), 100):  # at most 100 a call
                self._client.log_batch(run_id, params=params[start : start + 100])
        else:  # the parameters of a run never change there
            self._client.update_run(run_id, status="RUNNING")
        self.run_id = run_id

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Log the numbers in one call, which does not wait for the server."""
        now_ms = int(time.time() * 1000)
        metrics = [self._metric(name, value, now_ms, step) for name, value in values.items()]
        sent = self._client.log_batch(self.run_id, metrics=metrics, synchronous=False)
        self._pending.append(sent)

    def text(self, step: int, name: str, text: str) -> None:
        """Log the text as an artifact of its step, once the numbers have arrived."""
        self._wait()
        self._client.log_text(self.run_id, text, f"{name}/{step:06}.txt")

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self._wait()
        self._client.set_terminated(self.run_id, status="FAILED" if failed else "FINISHED")

    def _wait(self) -> None:
        for sent in self._pending:
            sent.wait()
        self._pending.clear()


class Trackio:
    """A run of Trackio, in its local folder, which `trackio show` shows."""

    def __init__(self, workdir: Path, name: str, config: dict[str, Any], run_id: str | None):
        trackio = importlib.import_module("trackio")
        del workdir
        self.run_id = run_id or f"{name}-{secrets.token_hex(4)}"  # Trackio knows a run by its name
        # trackio.finish: after run.finish, Trackio would finish the run once more at exit.
        self._markdown, self._finish = trackio.Markdown, trackio.finish
        project = os.environ.get("TRACKIO_PROJECT", _PROJECT)
        self._run = trackio.init(
            project, name=self.run_id, config=config, resume="allow", embed=False
        )

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Log the numbers."""
        self._run.log(values, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """Log the text as Markdown."""
        self._run.log({name: self._markdown(f"```\n{text}\n```")}, step=step)

    def close(self, *, failed: bool) -> None:
        """Write the rest."""
        del failed
        self._finish()


_TRACKERS: dict[TrackerName, type[Wandb] | type[Mlflow] | type[Trackio]] = {
    "wandb": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
}


class Unbreakable:
    """A tracker that gives up with one warning where another would end the run."""

    def __init__(self, tracker: Tracker, name: str, warn: Callable[[str], None]):
        self._tracker: Tracker | None = tracker
        self._name, self._warn = name, warn

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Record the numbers of a step, if the tracker still works."""
        self._try(lambda tracker: tracker.metrics(step, values))

    def text(self, step: int, name: str, text: str) -> None:
        """Record a text, if the tracker still works."""
        self._try(lambda tracker: tracker.text(step, name, text))

    def close(self, *, failed: bool) -> None:
        """End the tracker's run, if the tracker still works."""
        self._try(lambda tracker: tracker.close(failed=failed))

    def _try(self, call: Callable[[Tracker], None]) -> None:
        if self._tracker is not None:
            with Tolerated(self._give_up), redirect_stdout(sys.stderr):
                call(self._tracker)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        self._warn(
            f"--track={self._name} failed and gets nothing more in this run "
            f"({_first_line(error)}); metrics.jsonl and TensorBoard go on"
        )


def check_installed(name: TrackerName | None) -> None:
    """Raise ConfigError unless the tracker's package is installed."""
    if name is not None and importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"--track={name} needs the package {name}, which is not installed; "
            f"run pip install 'gpt-zoo[{name}]'"
        )


def start_tracker(
    name: TrackerName,
    workdir: Path,
    run_name: str,
    config: Any,
    warn: Callable[[str], None],
    *,
    goes_back: bool = False,
) -> Tracker:
    """Start a run in the tracker, or go on in the one that tracking.json names.

    Args:
      config: the run's, as `to_json` values.
      warn: shows a warning, should the tracker fail later.
      goes_back: start a run all the same, since the other holds steps that come again.

    Raises ConfigError if it cannot start, for example without a login.
    """
    path = workdir / TRACKING_FILE
    ids = _read_ids(path)
    run_id = None if goes_back else ids.get(name)
    try:
        with redirect_stdout(sys.stderr):  # for --json, which has stdout for itself
            tracker = _TRACKERS[name](workdir, run_name, dict(leaves(config)), run_id)
    except Exception as error:
        raise ConfigError(
            f"--track={name} cannot start: {_first_line(error)}; {_REMEDIES[name]}, or leave "
            "--track out"
        ) from error
    write_whole(path, json.dumps(ids | {name: tracker.run_id}) + "\n")
    return Unbreakable(tracker, name, warn)


def _read_ids(path: Path) -> dict[str, str]:
    """Return the run's id in each tracker; {} if the file is not there or damaged."""
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return ids if isinstance(ids, dict) else {}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
