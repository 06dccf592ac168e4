"""From what a step leaves on the devices to rows of metrics.jsonl."""

import dataclasses
import io
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import jax
import pytest
from rich.console import Console

import configs
from configs.experiment import Experiment
from zoo.checkpoints.history import History
from zoo.runs import log as run_log
from zoo.runs.divergence import DivergedStep, Watch
from zoo.runs.log import RunLog
from zoo.runs.metrics import MetricsWriter, read_metrics
from zoo.runs.report import RunReport

EXPERIMENT = configs.get("palm_nano")
EVALUATION = {"eval/loss": 2.0, "eval/bits_per_byte": 1.0}


class OnDevice:
    """A number on a device, which notes that the host has waited for it."""

    def __init__(self, value: float):
        self.value = value
        self.was_read = False

    def __float__(self) -> float:
        self.was_read = True
        return self.value

    def block_until_ready(self) -> "OnDevice":
        self.was_read = True
        return self


class RecordingReport(RunReport):
    """Keeps what it is told of each step instead of showing it."""

    def __init__(self, screen: io.StringIO):
        super().__init__(Console(file=screen, width=200))
        self.steps: list[int] = []

    def step(self, step: int, metrics: dict[str, float]) -> None:
        self.steps.append(step)


class Bench:
    """A run log with a clock that a test sets, its rows and what the screen showed."""

    def __init__(self, workdir: Path, monkeypatch: pytest.MonkeyPatch):
        self.now_s = 100.0
        self.workdir = workdir
        clock = SimpleNamespace(perf_counter=lambda: self.now_s)
        monkeypatch.setattr(run_log, "time", clock)
        self.writer = MetricsWriter(workdir, first_step=0)
        self._screen = io.StringIO()
        self.start(EXPERIMENT)

    def start(self, experiment: Experiment, *, num_devices: int = 1) -> None:
        self.report = RecordingReport(self._screen)
        self.log = RunLog(
            experiment,
            1e6,
            num_devices,
            lambda size: size,
            self.writer,
            self.report,
            Watch(experiment.divergence, History(), lambda event: None),
            lambda step: {"data/epochs": step / 2},
            skipped_batches=0,
        )

    def push(self, step: int, **values: float) -> dict[str, OnDevice]:
        """Note a step whose loss is its number."""
        values = {"loss": step, "lr": 0.1, "grad_norm": 0.5} | values
        metrics = {f"train/{name}": OnDevice(float(value)) for name, value in values.items()}
        self.log.push(step, cast(dict[str, jax.Array], metrics))
        return metrics

    @property
    def rows(self) -> dict[float, dict[str, float]]:
        return {row["step"]: row for row in read_metrics(self.workdir)}

    @property
    def screen(self) -> str:
        return self._screen.getvalue()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    with bench.writer:
        yield bench


def test_metrics_are_read_one_step_late(bench: Bench):
    bench.push(1)
    second = bench.push(2)
    assert list(bench.rows) == [1]
    bench.now_s += 1
    third = bench.push(3)
    assert all(value.was_read for value in second.values())
    assert not any(value.was_read for value in third.values())
    assert list(bench.rows) == [1, 2]
    bench.now_s += 1
    bench.log.flush()
    assert [bench.rows[step]["train/loss"] for step in (1, 2, 3)] == [1, 2, 3]
    assert [bench.rows[step]["data/epochs"] for step in (1, 2, 3)] == [0.5, 1, 1.5]


def test_nothing_is_recorded_twice_or_out_of_nothing(bench: Bench):
    bench.log.flush()
    assert bench.rows == {}
    bench.push(1)
    bench.push(2)
    bench.now_s += 1
    bench.log.flush()
    bench.log.flush()
    assert [row["step"] for row in read_metrics(bench.workdir)] == [1, 2]


@pytest.mark.parametrize("first_step", [1, 7])
def test_the_first_step_is_waited_for_and_has_no_speed(first_step: int, bench: Bench):
    """It includes compilation, in a resumed run too."""
    bench.now_s += 60
    first = bench.push(first_step)
    assert all(value.was_read for value in first.values())
    assert f"first loss {first_step:.3f}" in bench.screen
    bench.push(first_step + 1)
    bench.now_s += 2
    bench.log.flush()
    counted = {"data/epochs"}
    assert set(bench.rows[first_step]) - counted == {
        "step",
        "train/loss",
        "train/lr",
        "train/grad_norm",
    }
    # The clock starts after it.
    assert bench.rows[first_step + 1]["perf/tokens_per_s"] == EXPERIMENT.batch_tokens / 2
    assert bench.log.tokens_per_s == [EXPERIMENT.batch_tokens / 2]


def test_speed_leaves_out_pauses_and_tells_the_wait_for_input(bench: Bench):
    bench.push(1)
    with bench.log.waiting_for_input():
        bench.now_s += 0.5
    bench.push(2)
    bench.now_s += 3.5
    with bench.log.paused():
        bench.now_s += 50
    bench.log.flush(EVALUATION)
    with bench.log.paused():  # saving, after the step was recorded
        bench.now_s += 70
    with bench.log.waiting_for_input():
        bench.now_s += 0.25
    bench.push(3)
    bench.now_s += 0.75
    bench.log.flush()
    speeds = [EXPERIMENT.batch_tokens / 4, EXPERIMENT.batch_tokens / 1]
    assert [bench.rows[step]["perf/tokens_per_s"] for step in (2, 3)] == speeds
    assert [bench.rows[step]["perf/input_wait_s"] for step in (2, 3)] == [0.5, 0.25]
    assert bench.log.tokens_per_s == speeds


def test_mfu_is_told_where_the_peak_is_known_and_nowhere_else(bench: Bench, monkeypatch):
    bfloat16 = dataclasses.replace(EXPERIMENT.execution, dtype="bfloat16")
    bench.start(dataclasses.replace(EXPERIMENT, execution=bfloat16), num_devices=4)
    bench.push(1)
    for step, kind in ((2, "TPU v4"), (3, "cpu")):
        monkeypatch.setattr(
            run_log.jax, "devices", lambda kind=kind: [SimpleNamespace(device_kind=kind)]
        )
        bench.push(step)
        bench.now_s += 2
        bench.log.flush()
    flops_per_s = 1e6 * EXPERIMENT.batch_tokens / 2
    assert bench.rows[2]["perf/mfu"] == pytest.approx(flops_per_s / (4 * 275e12))
    assert "perf/mfu" not in bench.rows[3]


def test_an_evaluation_stands_in_the_row_of_its_step(bench: Bench):
    bench.push(1)
    bench.push(2)
    bench.now_s += 1
    bench.log.flush(EVALUATION)
    bench.push(3)
    bench.now_s += 1
    bench.log.flush()
    assert [EVALUATION.items() <= row.items() for row in bench.rows.values()] == [
        False,
        True,
        False,
    ]


def test_the_first_step_may_be_evaluated_too(bench: Bench):
    """A run of one step, or one that resumes just before an evaluation."""
    bench.push(6)
    bench.now_s += 1
    bench.log.flush(EVALUATION)
    assert EVALUATION.items() <= bench.rows[6].items()
    assert [row["step"] for row in read_metrics(bench.workdir)] == [6]
    bench.push(7)
    bench.now_s += 1
    bench.log.flush()
    assert list(bench.rows) == [6, 7]


def test_log_every_thins_the_rows_but_not_the_evaluations_or_the_screen(bench: Bench):
    bench.start(dataclasses.replace(EXPERIMENT, log_every=3))
    for step in range(1, 9):
        bench.push(step)
        bench.now_s += 1
        if step == 4:
            bench.log.flush(EVALUATION)
    bench.log.flush()
    assert list(bench.rows) == [3, 4, 6]
    assert len(bench.log.tokens_per_s) == 7
    assert bench.report.steps == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("step", [1, 3])
def test_what_is_not_finite_ends_the_run_before_it_is_written(
    step: int, name: str, value: float, bench: Bench
):
    for finite in range(1, step):
        bench.push(finite)
        bench.now_s += 1
    with pytest.raises(DivergedStep, match=rf"step {step}: train/{name} is not finite"):
        bench.push(step, **{name: value})
        bench.log.flush()
    assert list(bench.rows) == list(range(1, step))


def test_an_evaluation_that_is_not_finite_ends_the_run_before_it_is_written(bench: Bench):
    bench.push(1)
    bench.push(2)
    with pytest.raises(DivergedStep, match="step 2: "):
        bench.log.flush({"eval/loss": math.nan})
    assert list(bench.rows) == [1]


def test_what_is_not_finite_is_found_even_where_no_row_is_due(bench: Bench):
    bench.start(dataclasses.replace(EXPERIMENT, log_every=100))
    bench.push(1)
    bench.push(2, loss=math.nan)
    with pytest.raises(DivergedStep, match="step 2: "):
        bench.push(3)
