import dataclasses
import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

import configs
from data.config import Data, Files
from zoo.runs import report
from zoo.runs.report import RunReport

METRICS = {
    "train/loss": 3.14159,
    "train/lr": 0.01,
    "train/grad_norm": 0.5,
    "perf/tokens_per_s": 12345.6,
}
FIRST_METRICS = {key: METRICS[key] for key in METRICS if not key.startswith("perf/")}
EXPERIMENT = configs.get("palm_nano")


class Screen:
    """A report and what it has printed."""

    def __init__(self, *, terminal: bool, flags: tuple[str, ...] = ()):
        file = io.StringIO()
        self.report = RunReport(Console(file=file, force_terminal=terminal, width=200), flags=flags)
        self._file = file

    @property
    def text(self) -> str:
        return self._file.getvalue()


@pytest.fixture
def screen() -> Screen:
    return Screen(terminal=False)


def test_model_line_tells_size_choices_and_cost(screen):
    screen.report.model("palm_nano", EXPERIMENT, 46_176, 3.34e9)
    for part in (
        "palm_nano: 46,176 parameters",
        "parallel layers",
        "no biases",
        "20 steps of 8 x 64 tokens = 10,240 tokens",
        "3.34e+09 FLOPs",
    ):
        assert part in screen.text


@pytest.mark.parametrize(("extra", "shown"), [({}, "MFU n/a"), ({"perf/mfu": 0.456}, "MFU 45.6%")])
def test_step_line_has_every_number(extra, shown, screen):
    with screen.report.bar(0, 10):
        screen.report.step(1, METRICS | extra)
    for part in (
        "step 1/10",
        "loss 3.142",
        "lr 1.00e-02",
        "grad 0.50",
        "12,346 tok/s",
        "ETA",
        shown,
    ):
        assert part in screen.text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_first_step_has_no_speed(terminal):
    screen = Screen(terminal=terminal)
    with screen.report.bar(0, 10):
        screen.report.step(1, FIRST_METRICS)
    assert "loss 3.142  lr 1.00e-02  grad 0.50" in screen.text
    for part in ("tok/s", "MFU"):
        assert part not in screen.text
    assert terminal or "ETA" not in screen.text  # the bar's own starts with the bar


def test_the_estimate_leaves_out_the_first_step(screen, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(report.time, "perf_counter", lambda: now[0])
    with screen.report.bar(4, 50):
        now[0] += 1000.0  # compilation
        screen.report.step(5, FIRST_METRICS)
        for step in range(6, 16):
            now[0] += 2.0
            screen.report.step(step, METRICS)
    shown = [line for line in screen.text.splitlines() if "ETA" in line]
    assert ["step 11/50" in line and line.endswith("ETA 1:18") for line in shown] == [True]


def test_without_a_terminal_only_some_steps_are_printed(screen):
    with screen.report.bar(0, 50):
        for step in range(1, 51):
            screen.report.step(step, METRICS)
    lines = [line for line in screen.text.splitlines() if "tok/s" in line]
    assert "step 1/50" in lines[0]
    assert "step 50/50" in lines[-1]
    assert len(lines) < 10


def test_a_terminal_gets_a_bar():
    screen = Screen(terminal=True)
    with screen.report.bar(0, 10):
        screen.report.step(10, METRICS)
    assert "step 10/10" in screen.text
    assert "loss 3.142" in screen.text


def test_long_work_shows_how_much_is_done_and_when_the_rest_will_be(screen, monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(report.time, "perf_counter", lambda: now_s)
    for _ in screen.report.track("evaluating", range(8), 8):
        now_s += 6
    shown = [line.split("s  ")[-1] for line in screen.text.splitlines()]
    assert shown == [f"evaluating {done}/8  ETA 0:{6 * (8 - done):02}" for done in (2, 4, 6)]


def test_short_work_says_nothing_and_a_terminal_gets_a_bar(screen):
    assert list(screen.report.track("evaluating", "abc", 3)) == list("abc")
    assert screen.text == ""
    terminal = Screen(terminal=True)
    assert list(terminal.report.track("evaluating", "abc", 3)) == list("abc")
    assert "evaluating" in terminal.text


def test_evaluation_stands_beside_the_baselines(screen):
    evaluation = {"eval/loss": 5.07821, "eval/bits_per_byte": 2.26053}
    screen.report.evaluation(20, evaluation, {"xz -9": 1.0502, "byte 5-gram": 0.7668})
    assert "5.0782 nats per token, 2.2605 bits per byte" in screen.text
    assert "(xz -9 1.050, byte 5-gram 0.767)" in screen.text


@pytest.mark.parametrize(
    ("baselines", "verdict"),
    [
        ({"xz -9": 2.5, "byte 5-gram": 2.1}, "the model beats xz -9 and byte 5-gram"),
        ({"xz -9": 2.5, "byte 5-gram": 1.5}, "does not beat byte 5-gram"),
        ({"xz -9": 1.6, "byte 5-gram": 1.5}, "does not beat xz -9 and byte 5-gram"),
    ],
)
def test_end_tells_whether_the_baselines_were_beaten(baselines, verdict, screen):
    screen.report.end(Path("runs/x"), EXPERIMENT, 2.0, baselines, "[bold]def[/]", converged=False)
    assert verdict in screen.text
    assert "[bold]def[/]" in screen.text  # the sample as it is, not as markup


def next_commands(flags: tuple[str, ...], folder: str, data: Data, sample: str) -> list[list[str]]:
    """The commands that the end of a run names, as a shell reads them."""
    screen = Screen(terminal=False, flags=flags)
    experiment = dataclasses.replace(EXPERIMENT, data=data)
    screen.report.end(Path(folder), experiment, 2.0, {"xz -9": 2.5}, sample, converged=False)
    lines = screen.text.split(" next ")[1].splitlines()[1:]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("folder", ["runs/x", "my runs/x"])
def test_next_commands_are_those_of_this_run_with_twice_the_steps(folder):
    flags = ("--model=palm_nano", f"--workdir={folder}", "--data.files=my notes/**/*.txt")
    sample, page, longer = next_commands(
        ("--num-steps", "7", *flags, "--num_steps=9", "--json", "--fresh"),
        folder,
        Data(source=Files("my notes/**/*.txt")),
        "it's so\nmuch text",
    )
    assert sample == ["python", "-m", "zoo.sample", f"--checkpoint={folder}", "--prompt=it's so"]
    assert page == ["python", "-m", "zoo.watch", folder]
    assert longer == ["python", "-m", "zoo.train", *flags, "--num-steps=40"]


def test_next_prompt_for_the_standard_library_is_python():
    sample, *_ = next_commands((), "runs/x", Data(), "import os\n")
    assert sample[-1] == "--prompt=def "


def test_warnings_and_lines_show_brackets_as_they_are(screen):
    screen.report.line("[red]x")
    screen.report.warn('pip install "gpt-zoo[gpu]"')
    assert "[red]x" in screen.text
    assert 'pip install "gpt-zoo[gpu]"' in screen.text
