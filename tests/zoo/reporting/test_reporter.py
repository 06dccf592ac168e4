import pytest

from models.config import ConfigError
from tests.zoo.reporting.pages import parse
from tests.zoo.reporting.runs import make_run, row, write_rows
from zoo.common.errors import DivergedError, StoppedError, WorkdirError
from zoo.reporting import reporter as reporter_module
from zoo.reporting.record import RunRecord, Start, read_record
from zoo.reporting.reporter import Reporter


class Output:
    def __init__(self):
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def make_reporter(workdir, first_step: int = 0, output: Output | None = None) -> Reporter:
    start = Start(first_step, ["--model=palm_nano"], "1 x cpu (cpu)")
    return Reporter(workdir, RunRecord("palm_nano"), start, output or Output())


def starts(workdir) -> list[Start]:
    record = read_record(workdir)
    assert record is not None
    return record.starts


@pytest.fixture
def workdir(tmp_path):
    return make_run(tmp_path / "run")


def test_the_page_is_there_while_the_run_goes_on_and_when_it_has_ended(workdir):
    output = Output()
    reporter = make_reporter(workdir, output=output)
    with reporter.recorded():
        reporter.refresh()
        first = (workdir / "report.html").read_text()
        assert "under way" in parse(first).text
        assert 'http-equiv="refresh"' in first
        write_rows(workdir, [row(5, loss=1.0)])
        output.warnings.append("idle devices")
    last = (workdir / "report.html").read_text()
    assert 'http-equiv="refresh"' not in last
    assert "finished · step 5 of 20" in parse(last).text
    assert "warning: idle devices" in parse(last).text
    assert (workdir / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in workdir.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoppedError("SIGTERM: saved step 3", 75), "stopped: SIGTERM: saved step 3"),
        (KeyboardInterrupt(), "stopped by Ctrl-C"),
        (
            DivergedError("not finite at step 4\nmore"),
            "failed: DivergedError: not finite at step 4",
        ),
    ],
)
def test_the_outcome_is_recorded_and_the_error_raised(workdir, error, outcome):
    with pytest.raises(type(error)), make_reporter(workdir).recorded():
        raise error
    assert [start.outcome for start in starts(workdir)] == [outcome]
    assert outcome in parse((workdir / "report.html").read_text()).text


def test_a_resumed_run_keeps_its_earlier_starts_and_a_fresh_one_does_not(workdir):
    with make_reporter(workdir, first_step=3).recorded():
        pass
    assert [start.first_step for start in starts(workdir)] == [0, 3]
    with make_reporter(workdir).recorded():
        pass
    assert [start.first_step for start in starts(workdir)] == [0]


def test_a_rewind_starts_a_new_run_in_the_tracker_and_survives_its_failure(workdir, monkeypatch):
    started: list[tuple[str, bool]] = []

    def start_tracker(_track, _workdir, name, _config, _warn, *, goes_back):
        started.append((name, goes_back))
        if len(started) == 3:
            raise ConfigError("the server is gone")
        return "tracker"

    monkeypatch.setattr(reporter_module, "start_tracker", start_tracker)
    output = Output()
    start = Start(4, [], "1 x cpu (cpu)")
    reporter = Reporter(workdir, RunRecord("palm_nano"), start, output, "wandb")
    assert [reporter.start_tracker({}, step) for step in (4, 2, 0)] == [["tracker"]] * 2 + [[]]
    assert started == [
        ("palm_nano", False),
        ("palm_nano from step 2", True),
        ("palm_nano from step 0", True),
    ]
    assert output.warnings == ["the server is gone"]


def test_a_bug_in_the_page_does_not_end_the_run(workdir, monkeypatch):
    monkeypatch.setattr(reporter_module, "run_page", lambda *_, **__: 1 / 0)
    output = Output()
    with make_reporter(workdir, output=output).recorded():
        pass
    assert output.warnings == [
        "report.html could not be drawn: ZeroDivisionError: division by zero"
    ]


def test_a_full_disk_is_a_mistake_to_correct(workdir, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reporter_module, "write_whole", full)
    with pytest.raises(WorkdirError, match="No space left"), make_reporter(workdir).recorded():
        pass
    with pytest.raises(ValueError, match="first"), make_reporter(workdir).recorded():
        raise ValueError("the first error")
