import json
import subprocess
import sys

from zoo.reporting.record import RunRecord, Start, read_record


def start(**values) -> Start:
    return Start(0, ["--model=palm_nano"], "1 x cpu (cpu)", **values)


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = RunRecord("palm_nano", {"corpus": "c"}, {"xz -9": 1.8}, [start(), start()])
    record.write(tmp_path)
    assert read_record(tmp_path) == record
    assert {"python", "jax", "flax", "numpy"} <= set(record.starts[0].versions)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_fields_of_a_later_version_are_ignored_and_damage_is_no_record(tmp_path):
    assert read_record(tmp_path) is None
    RunRecord("a", {}, {}, [start()]).write(tmp_path)
    saved = json.loads((tmp_path / "run.json").read_text())
    saved |= {"later": 1}
    saved["starts"][0]["later"] = 2
    (tmp_path / "run.json").write_text(json.dumps(saved))
    record = read_record(tmp_path)
    assert record is not None
    assert record.name == "a"
    for damaged in ("{", "[]", '{"starts": [1]}', '{"name": "a", "starts": [{}]}'):
        (tmp_path / "run.json").write_text(damaged)
        assert read_record(tmp_path) is None


def test_wall_time_adds_up_over_the_processes():
    times = {"started_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:01:30+00:00"}
    assert RunRecord("a", {}, {}, [start(**times), start(**times)]).wall_s == 180


def test_a_process_that_is_gone_is_not_running():
    assert start().is_running
    assert not start(outcome="finished").is_running
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not start(process_id=process.pid).is_running
    assert start(process_id=process.pid, host="elsewhere").is_running
