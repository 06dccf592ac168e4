import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo.runs import metrics
from zoo.runs.metrics import MetricsWriter, read_metrics, smoothed


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


def test_plot_is_a_png_with_and_without_evaluations(tmp_path):
    write(tmp_path, 0, {1: 2.0, 2: 1.0})
    metrics.plot_loss(tmp_path, "nano", {"xz -9": 1.5})
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "loss.png").read_bytes()
    with MetricsWriter(tmp_path, first_step=2) as writer:
        writer.write(3, {"train/loss": 0.5, "eval/loss": 1.0, "eval/bits_per_byte": 2.0})
    metrics.plot_loss(tmp_path, "nano", {"xz -9": 1.5})
    assert (tmp_path / "loss.png").read_bytes() != before
    assert {path.name for path in tmp_path.iterdir()} == {
        "loss.png",
        "metrics.jsonl",
        "tensorboard",
    }


@pytest.mark.parametrize("num_steps", [1, 9, 19])
def test_a_short_curve_is_left_as_it_is(num_steps):
    curve = [(float(step), float(step**2)) for step in range(num_steps)]
    assert smoothed(curve) == curve


def test_a_long_curve_is_averaged_over_the_tenth_that_ends_at_each_step():
    curve = [(10.0 * i, float(i)) for i in range(30)]
    means = [0.0, 0.5, *(i - 1.0 for i in range(2, 30))]
    assert smoothed(curve) == [(10.0 * i, mean) for i, mean in enumerate(means)]


def test_no_curve_is_no_curve():
    assert smoothed([]) == []
