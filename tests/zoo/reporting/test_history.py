import json

import numpy as np
import pytest

from tests.zoo.reporting.runs import row, write_rows
from zoo.reporting.history import MAX_POINTS, HistoryReader, read_history


def test_a_short_curve_is_kept_as_it_is(tmp_path):
    write_rows(tmp_path, [row(step, loss=10.0 / step) for step in range(1, 6)])
    curve = read_history(tmp_path).curves["train/loss"]
    assert curve.steps_per_point == 1
    assert curve.steps.tolist() == [1, 2, 3, 4, 5]
    assert curve.means.tolist() == [10.0, 5.0, 10 / 3, 2.5, 2.0]


@pytest.mark.parametrize("num_steps", [MAX_POINTS, 5 * MAX_POINTS + 7, 23_456])
def test_a_long_curve_keeps_every_mean_and_every_peak_in_few_points(tmp_path, num_steps):
    values = np.random.default_rng(0).normal(size=num_steps)
    values[num_steps // 3] = 99.0
    write_rows(tmp_path, [row(i + 1, loss=value) for i, value in enumerate(values)])
    curve = read_history(tmp_path).curves["train/loss"]
    width = curve.steps_per_point
    assert MAX_POINTS / 2 <= len(curve.steps) <= MAX_POINTS
    assert (curve.steps[-1], curve.last) == (num_steps, values[-1])
    pieces = [values[start : start + width] for start in range(0, num_steps, width)]
    np.testing.assert_allclose(curve.means, [piece.mean() for piece in pieces])
    np.testing.assert_array_equal(curve.highs, [piece.max() for piece in pieces])
    np.testing.assert_array_equal(curve.lows, [piece.min() for piece in pieces])
    assert curve.highs.max() == 99.0


def test_a_reader_takes_only_whole_new_rows(tmp_path):
    write_rows(tmp_path, [row(1, loss=3.0)])
    reader = HistoryReader(tmp_path)
    assert reader.read().step == 1
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "train/lo')
        file.flush()
        assert reader.read().step == 1
        file.write('ss": 2.0}\n')
    assert reader.read().curves["train/loss"].means.tolist() == [3.0, 2.0]


def test_a_resumed_run_that_writes_the_file_anew_is_read_anew(tmp_path):
    write_rows(tmp_path, [row(step, loss=1.0) for step in (1, 2, 3)])
    reader = HistoryReader(tmp_path)
    reader.read()
    (tmp_path / "new").write_text(json.dumps(row(1, loss=5.0)) + "\n")
    (tmp_path / "new").replace(tmp_path / "metrics.jsonl")
    assert reader.read().curves["train/loss"].means.tolist() == [5.0]


def test_a_run_that_goes_back_and_on_between_two_reads_is_read_anew(tmp_path):
    write_rows(tmp_path, [row(step, loss=1.0) for step in (1, 2, 3)])
    reader = HistoryReader(tmp_path)
    reader.read()
    (tmp_path / "metrics.jsonl").write_text("")  # the same file, soon longer than it was
    write_rows(tmp_path, [row(step, loss=2.0) for step in (1, 2, 3, 4)])
    assert reader.read().curves["train/loss"].means.tolist() == [2.0] * 4


def test_steps_that_go_back_replace_what_lay_after_them(tmp_path):
    write_rows(tmp_path, [row(step, loss=1.0) for step in (1, 2, 3, 4)])
    write_rows(tmp_path, [row(step, loss=2.0) for step in (3, 4, 5)])
    curve = read_history(tmp_path).curves["train/loss"]
    assert curve.steps.tolist() == [1, 2, 3, 4, 5]
    assert curve.means.tolist() == [1.0, 1.0, 2.0, 2.0, 2.0]


def test_what_is_no_finite_number_is_left_out(tmp_path):
    rows = [row(1, loss=1.0, note="x"), row(2, loss=float("nan")), row(3, loss=[1, 2])]
    write_rows(tmp_path, rows)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "cut\n[1]\n{"train/loss": 1}\n')
    write_rows(tmp_path, [row(5, loss=7.0)])
    history = read_history(tmp_path)
    assert history.step == 5
    assert history.curves["train/loss"].means[-1] == 7.0
    assert "note" not in history.curves


def test_numbers_of_a_run(tmp_path):
    bits = [4.0, 2.0, 3.0]
    write_rows(tmp_path, [row(step, bits=value) for step, value in enumerate(bits, 1)])
    history = read_history(tmp_path)
    assert history.best("eval/bits_per_byte") == (2, 2.0)
    assert history.last("eval/bits_per_byte") == 3.0
    assert history.median("eval/bits_per_byte") == 3.0
    assert history.best("eval/loss") is history.last("eval/loss") is None
