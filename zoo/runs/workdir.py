"""The folder of one run and the files in it."""

import json
import shutil
from pathlib import Path

from configs.experiment import Experiment
from zoo.checkpoints import checkpoint
from zoo.common import serialize
from zoo.common.folders import writing
from zoo.reporting.history import METRICS_FILE
from zoo.reporting.record import RECORD_FILE
from zoo.reporting.recorded_run import CONFIG_FILE, EVENTS_FILE, SAMPLES_FOLDER
from zoo.reporting.reporter import PLOT_FILE
from zoo.reporting.run_page import REPORT_FILE
from zoo.reporting.trackers import EVENTS_FOLDER, TRACKING_FILE

_WRITTEN_BY_A_RUN = (
    CONFIG_FILE,
    RECORD_FILE,
    REPORT_FILE,
    SAMPLES_FOLDER,
    METRICS_FILE,
    PLOT_FILE,
    EVENTS_FILE,
    EVENTS_FOLDER,
    TRACKING_FILE,
    checkpoint.FOLDER,
)


def prepare(workdir: Path) -> None:
    """Make the folder and check that it can be written. Raises WorkdirError if it cannot."""
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".probe"
        probe.write_bytes(b"0" * 4096)
        probe.unlink()


def clear(workdir: Path) -> None:
    """Delete the files of an earlier run, and nothing else. Raises WorkdirError if that fails."""
    with writing(workdir):
        for name in _WRITTEN_BY_A_RUN:
            path = workdir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def write_config(workdir: Path, experiment: Experiment) -> None:
    """Write the resolved config, for people and programs to read."""
    text = json.dumps(serialize.to_json(experiment), indent=2) + "\n"
    (workdir / CONFIG_FILE).write_text(text)


def write_sample(workdir: Path, step: int, text: str) -> None:
    """Write a sample to a file of its step. Together they show how the model learns to write."""
    folder = workdir / SAMPLES_FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"{step:06}.txt").write_text(text + "\n", encoding="utf-8")
