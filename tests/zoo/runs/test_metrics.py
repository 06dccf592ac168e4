import json
from contextlib import nullcontext

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo.runs.metrics import MetricsWriter, read_metrics


def write(workdir, first_step: int, values: dict[int, float]) -> None:
    with MetricsWriter(workdir, first_step=first_step) as writer:
        for step, value in values.items():
            writer.write(step, {"train/loss": value})


def test_a_resumed_run_replaces_what_lies_after_its_first_step(tmp_path):
    write(tmp_path, 0, {1: 1.0, 2: 2.0, 3: 3.0})
    write(tmp_path, 2, {3: 30.0, 4: 40.0})
    expected = {1: 1.0, 2: 2.0, 3: 30.0, 4: 40.0}
    assert {row["step"]: row["train/loss"] for row in read_metrics(tmp_path)} == expected
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {event.step: event.value for event in events.Scalars("train/loss")} == expected


def test_a_line_that_a_crash_cut_short_is_left_out_and_dropped(tmp_path):
    write(tmp_path, 0, {1: 1.0, 2: 2.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "train/lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    write(tmp_path, 2, {3: 3.0})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_rows_are_on_the_disk_while_the_run_goes_on(tmp_path):
    with MetricsWriter(tmp_path, first_step=0) as writer:
        writer.write(1, {"train/loss": 1.0})
        assert read_metrics(tmp_path) == [{"step": 1, "train/loss": 1.0}]


def test_no_metrics_yet_are_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_every_tracker_gets_what_the_file_gets(tmp_path):
    class Notes:
        def __init__(self):
            self.calls = []

        def metrics(self, step, values):
            self.calls.append((step, values))

        def text(self, step, name, text):
            self.calls.append((step, name, text))

        def close(self, *, failed):
            self.calls.append(failed)

    for error in (None, RuntimeError("broken")):
        notes = Notes()
        with (
            pytest.raises(RuntimeError) if error else nullcontext(),
            MetricsWriter(tmp_path, first_step=0, trackers=[notes]) as writer,
        ):
            writer.write(1, {"train/loss": 2.0})
            writer.write_text("sample", "def", 1)
            if error:
                raise error
        assert notes.calls == [(1, {"train/loss": 2.0}), (1, "sample", "def"), error is not None]
