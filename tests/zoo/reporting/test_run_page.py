import json
import re

import pytest

from tests.zoo.reporting.pages import parse
from tests.zoo.reporting.runs import change_config, make_run, row, write_rows
from zoo.reporting.markup import Reload, Update
from zoo.reporting.record import RunRecord, Start, read_record
from zoo.reporting.recorded_run import read_run
from zoo.reporting.run_page import MAX_SAMPLES, duration, run_page, short

SECTIONS = ["Curves", "Samples", "Config", "Data", "Events", "Versions and hardware"]


def test_the_page_has_all_sections_and_needs_nothing_else(tmp_path):
    html = run_page(read_run(make_run(tmp_path / "run")))
    page = parse(html)
    assert page.tags.count("h2") == len(SECTIONS) + 1
    for section in (*SECTIONS, "The command that repeats it"):
        assert section in page.text
    assert page.tags.count("figure") == 3  # training loss, bits per byte, validation loss
    assert "script" not in page.tags
    assert 'http-equiv="refresh"' not in html
    for text in ("finished", "1.5000", "xz -9 1.800", "Chowdhery", "section 2: rotary", "c0"):
        assert text in page.text


def test_every_text_of_the_run_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\"'&"
    workdir = make_run(tmp_path / "run")
    start = Start(0, [f"--model={evil}"], evil, outcome=evil, warnings=[evil], host=evil)
    RunRecord(evil, {evil: evil}, {evil: 1.0}, [start]).write(workdir)
    (workdir / "samples" / "000003.txt").write_text(evil)
    (workdir / "events.jsonl").write_text(json.dumps({"step": 1, "kind": evil, "message": evil}))
    write_rows(workdir, [row(5, loss=1.0) | {evil: 2.0}])
    change_config(workdir, "init_from", evil)
    page = parse(run_page(read_run(workdir)))
    assert "script" not in page.tags
    assert page.text.count(evil) >= 9


def test_events_show_starts_warnings_outcomes_and_divergence(tmp_path):
    workdir = make_run(tmp_path / "run")
    warnings = ["idle devices", "step 1234: spike of 7 deviations"]
    killed = Start(0, [], "1 x cpu", host="elsewhere", warnings=warnings)
    stopped = Start(2, [], "1 x cpu", outcome="stopped: SIGTERM: saved step 3")
    RunRecord("palm_nano", {}, {}, [killed, stopped]).write(workdir)
    event = {"step": 1234, "kind": "rewind", "message": "spike of 7 deviations"}
    (workdir / "events.jsonl").write_text(json.dumps(event) + '\n{"cut')
    text = parse(run_page(read_run(workdir))).text
    for part in (
        "started on elsewhere",
        "killed: no message",
        "warning: idle devices",
        "resumed from step 2",
        "stopped: SIGTERM: saved step 3",
        "1,234rewindspike of 7 deviations",
    ):
        assert part in text
    assert text.count("spike of 7 deviations") == 1  # an event that was a warning, too


def test_config_values_that_the_run_changed_are_marked(tmp_path):
    workdir = make_run(tmp_path / "run")
    change_config(workdir, "optimizer.schedule.peak_lr", 0.02)
    html = run_page(read_run(workdir))
    assert "One value differs from that of palm_nano." in html
    assert "<mark>0.02</mark>" in html
    assert "this run; palm_nano has 0.01" in html


def test_the_command_repeats_the_run_in_another_folder(tmp_path):
    workdir = make_run(tmp_path / "run")
    record = read_record(workdir)
    assert record is not None
    record.starts[-1].flags = ["--model=palm_nano", "--fresh", "--workdir", "a", "--seed=1"]
    record.write(workdir)
    command = "python -m zoo.train --model=palm_nano --seed=1 --workdir=runs/palm_nano_again"
    assert command in parse(run_page(read_run(workdir))).text
    record.starts[-1].flags = None
    record.write(workdir)
    assert (
        "train(from_json(config), 'runs/palm_nano_again')"
        in parse(run_page(read_run(workdir))).text
    )


@pytest.mark.parametrize("files", [("config.json",), ("config.json", "run.json")])
def test_a_run_that_has_just_begun_or_is_of_an_older_version_has_a_page(tmp_path, files):
    workdir = make_run(tmp_path / "run", outcome=None)
    for path in workdir.iterdir():
        if path.name not in (*files, "samples"):
            path.unlink()
    (workdir / "samples" / "000004.txt").unlink()
    page = parse(run_page(read_run(workdir)))
    assert "No metrics have been written yet." in page.text


def test_of_many_samples_some_are_shown_and_the_page_says_so(tmp_path):
    workdir = make_run(tmp_path / "run")
    write_rows(workdir, [row(204, loss=1.0)])
    for step in range(5, 210):  # those after 204 are of a past from which the run has gone back
        (workdir / "samples" / f"{step:06}.txt").write_text(f"text {step}")
    page = parse(run_page(read_run(workdir)))
    assert f"{MAX_SAMPLES} of 201 samples" in page.text
    assert len(re.findall(r"text \d", page.text)) == MAX_SAMPLES - 1
    assert "text 204" in page.text


def test_a_page_of_a_run_under_way_follows_it(tmp_path):
    run = read_run(make_run(tmp_path / "run", outcome=None))
    html = run_page(run, live=Reload(60))
    parse(html)
    assert '<meta http-equiv="refresh" content="60">' in html
    assert "under way" in html
    html = run_page(run, live=Update(5))
    assert parse(html).tags.count("script") == 1
    assert "script-src 'sha256-" in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (600, "10 min"), (11_100, "3 h 05 min"), (1_051_200, "12 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_short_numbers():
    assert [short(n) for n in (46176, 1.31e6, 540e9, 999)] == ["46.2k", "1.31M", "540B", "999"]
