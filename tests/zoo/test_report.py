import io

import pytest
from rich.console import Console

import configs
from zoo.report import Report

METRICS = {"train/loss": 3.14159, "train/lr": 0.01, "train/grad_norm": 0.5,
           "perf/tokens_per_s": 12345.6}  # fmt: skip
SUMMARY = {"model": "palm_nano", "workdir": "runs/x", "num_steps": 20, "sample": "[bold]def[/]",
           "eval/bits_per_byte": 2.0}  # fmt: skip


class Screen:
    """A report and what it has printed."""

    def __init__(self, *, terminal: bool):
        file = io.StringIO()
        self.report = Report(Console(file=file, force_terminal=terminal, width=200))
        self._file = file

    @property
    def text(self) -> str:
        return self._file.getvalue()


@pytest.fixture
def screen() -> Screen:
    return Screen(terminal=False)


def test_model_line_tells_size_choices_and_cost(screen):
    screen.report.model("palm_nano", configs.get("palm_nano"), 46_176, 3.34e9)
    for part in ("palm_nano: 46,176 parameters", "parallel layers", "no biases",
                 "20 steps of 8 x 64 tokens = 10,240 tokens", "3.34e+09 FLOPs"):  # fmt: skip
        assert part in screen.text


@pytest.mark.parametrize(("extra", "shown"), [({}, "MFU n/a"), ({"perf/mfu": 0.456}, "MFU 45.6%")])
def test_step_line_has_every_number(extra, shown, screen):
    with screen.report.bar(0, 10):
        screen.report.step(1, METRICS | extra)
    for part in ("step 1/10", "loss 3.142", "lr 1.00e-02", "grad 0.50", "12,346 tok/s", "ETA",
                 shown):  # fmt: skip
        assert part in screen.text


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
    screen.report.end(SUMMARY, baselines)
    assert verdict in screen.text
    assert "[bold]def[/]" in screen.text  # the sample as it is, not as markup
    assert "python -m zoo.sample --checkpoint=runs/x" in screen.text


def test_warnings_and_lines_show_brackets_as_they_are(screen):
    screen.report.line("[red]x")
    screen.report.warn('pip install "gpt-zoo[gpu]"')
    assert "[red]x" in screen.text
    assert 'pip install "gpt-zoo[gpu]"' in screen.text
