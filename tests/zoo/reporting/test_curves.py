import json

import pytest

from tests.zoo.reporting.runs import change_config, make_run, row, write_rows
from zoo.reporting.curves import panels
from zoo.reporting.plots import Panel
from zoo.reporting.recorded_run import read_run


@pytest.fixture
def workdir(tmp_path):
    return make_run(tmp_path / "run", num_steps=0)


def drawn(workdir) -> dict[str, Panel]:
    main, more = panels(read_run(workdir))
    return {panel.title: panel for panel in [*main, *more]}


def test_norms_and_the_batch_size_are_shown_and_counters_are_not(workdir):
    names = ("train/grad_norm", "train/update_norm", "train/param_norm", "data/batch_size")
    write_rows(workdir, [row(1, loss=2.0, tokens=512) | dict.fromkeys([*names, "perf/new"], 1.0)])
    main, more = panels(read_run(workdir))
    assert [panel.title for panel in main] == [
        "training loss", "gradient norm", "update norm", "parameter norm", "batch size",
    ]  # fmt: skip
    assert [panel.title for panel in more] == ["perf/new"]


def test_the_loss_by_position_is_a_line_over_the_sequence_at_three_times(workdir):
    change_config(workdir, "seq_len", 48)
    name = "train/loss_by_position"
    write_rows(
        workdir,
        [{"step": k} | {f"{name}/{i}": 100.0 - k - i for i in range(12)} for k in range(1, 21)],
    )
    panel = drawn(workdir)["training loss by position"]
    end, middle, start = panel.lines
    assert end.x.tolist() == [2.0 + 4 * i for i in range(12)]  # 10 comes after 9, not after 1
    assert [line.label for line in (end, middle, start)] == [
        "steps 19 to 20", "steps 9 to 10", "steps 1 to 2",
    ]  # fmt: skip
    assert end.y.tolist() == [80.5 - i for i in range(12)]
    assert start.y.tolist() == [98.5 - i for i in range(12)]


def test_one_row_is_one_line_by_position(workdir):
    write_rows(workdir, [{"step": 1, "train/loss_by_position/0": 5.0}])
    (line,) = drawn(workdir)["training loss by position"].lines
    assert line.label == "step 1"


def test_deviations_share_a_picture_and_events_are_marked(workdir):
    deviations = {"train/loss_deviation": 7.0, "train/update_norm_deviation": 0.5}
    write_rows(workdir, [{"step": step} | deviations for step in (1, 2, 3)])
    events = [{"step": 2, "kind": "spike"}, {"step": "x", "kind": "spike"}]
    (workdir / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    panel = drawn(workdir)["distance above the median"]
    assert [line.label for line in panel.lines] == ["loss", "update_norm"]
    assert panel.marks == {2: "spike at step 2"}
