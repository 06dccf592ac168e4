"""Measure which choice of a model matters: `python -m zoo.ablate --study=NAME`."""

import dataclasses
import functools
import json
import math
import shlex
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import tyro

from configs import studies
from configs.studies.study import AblationStudy, Design, Equal
from data.config import Files, Task
from models.config import ConfigError, check
from zoo.command_line import cli
from zoo.common.errors import StoppedError

if TYPE_CHECKING:
    from zoo.ablation.findings import Findings
    from zoo.ablation.study import Run, Study
    from zoo.ablation.workers import Trainer

CALIBRATION_STEPS = 20
"""Steps of the run that measures the speed of this machine."""
OUTPUTS = ("study.html", "study.md")


@dataclass(frozen=True, kw_only=True)
class AblateCommand:
    """The flags of `python -m zoo.ablate`. A flag that is not given is the study's."""

    study: str | None = None
    """A study of configs/studies. None: one made by --from and --to."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Model to start from."""
    end: Annotated[str | None, tyro.conf.arg(name="to")] = None
    """Model to arrive at."""
    choices: tuple[str, ...] | None = None
    """Choices to take from the end, in the order of the path. None: all in which the two differ."""
    designs: tuple[Design, ...] | None = None
    """from_start: the start with one choice of the end; from_end: the end with one choice of the
    start; path: the choices one after the other; factorial: half of them at a time."""
    equal: Equal | None = None
    """Budget that all variants share, besides the tokens."""
    seeds: int | None = None
    """Runs of each variant, besides its sweep of the learning rate."""
    max_doublings: int | None = None
    """Doublings of the first peak, up or down, beyond which no sweep goes."""
    d_model: int | None = None
    """Width of the start; its other sizes keep their proportion."""
    vocab_size: int | None = None
    """Tokens of the vocabulary, which is trained on the text."""
    seq_len: int | None = None
    """Tokens of a sequence."""
    batch_tokens: int | None = None
    """Tokens of a step."""
    num_tokens: float | None = None
    """Tokens of a run."""
    files: str | None = None
    """Train on these files, a glob. None: the study's text."""
    task: str | None = None
    """Train on this task, such as packages. None: the study's text."""
    workdir: str | None = None
    """Folder of the study: a workdir for each run, study.json and the reports. None: a folder in
    runs/ named after the study."""
    jobs: int = 1
    """Runs at a time, each in a process of its own, on a GPU of its own or on its share of the
    cores. 0: one after the other in this process, as in a notebook that holds the TPU."""
    dry_run: bool = False
    """List the choices and the variants and say what the study costs; train nothing."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check(self.jobs >= 0, f"--jobs={self.jobs} must not be negative; write --jobs=1")
        check(
            self.files is None or self.task is None,
            f"--files={self.files} and --task={self.task} are both the text; write one of them",
        )

    def settings(self) -> AblationStudy:
        """Return the study with the flags' changes. Raises ConfigError if there is none."""
        names = {field.name for field in dataclasses.fields(AblationStudy)} - {"source"}
        flags = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.files is not None:
            flags["source"] = Files(self.files)
        if self.task is not None:
            flags["source"] = Task(self.task)
        if self.study is not None:
            return dataclasses.replace(studies.get(self.study), **flags)
        if self.start is None or self.end is None:
            raise ConfigError(
                "--from and --to are missing; write for example --from=gpt1_small --to=llama_small,"
                f" or --study={next(iter(studies.STUDIES))}"
            )
        return AblationStudy(**flags)

    def folder(self, settings: AblationStudy) -> Path:
        """Return the folder of the study."""
        name = self.study or f"{settings.start}-to-{settings.end}"
        return Path(self.workdir or f"runs/{name}")


def main(argv: list[str]) -> None:
    """Train what is not trained yet, and write the reports."""
    command = cli.parse(
        AblateCommand,
        argv,
        prog="python -m zoo.ablate",
        description="Train two models and what lies between them, and say which choice matters. "
        "The same command again resumes the study.",
    )
    from zoo.ablation.study import Study
    from zoo.common.lock import held

    settings = command.settings()
    folder = command.folder(settings)
    _report_plan(Study.open(settings, folder))
    if command.dry_run:
        return
    signal.signal(signal.SIGTERM, _stop)
    shown = shlex.join(["python", "-m", "zoo.ablate", *argv])
    with held(folder, _say):
        study = Study.open(settings, folder)  # again: now nobody else writes to it
        study.write()
        if study.num_left:
            _train(study, command.jobs, shown)
        findings = _write(study, shown)
    if command.json:
        print(json.dumps({**findings.to_json(), "workdir": str(folder)}))
    else:
        _show(findings)
        files = " and ".join(str(folder / name) for name in OUTPUTS)
        cli.console.print(f"\nwrote {files}", markup=False, soft_wrap=True)


def _say(line: str) -> None:
    cli.console.print(f"study: {line}", markup=False, soft_wrap=True)


def _stop(number: int, frame: object) -> NoReturn:
    del frame
    raise StoppedError(
        f"{signal.Signals(number).name}: runs under way are being saved; the same command goes on",
        75,
    )


def _report_plan(study: "Study") -> None:
    """Say which choices and variants there are, and what all runs cost."""
    from zoo.ablation.report import choices_table

    table = choices_table(study)
    for choice, before, after in table.rows:
        _say(f"{choice}: {before} -> {after}")
    for note in table.notes:
        _say(note)
    for variant in study.variants:
        model = study.made.run(variant).model
        _say(f"variant `{study.label(variant)}`, d_ff {model.feed_forward.d_ff:,}")
    total, flops = study.num_first, study.flops_per_run()
    _say(
        f"{len(study.variants)} variants, {total} runs of {flops:.3g} FLOPs and "
        f"{study.made.start.num_tokens:,} tokens: {total * flops:.3g} FLOPs, more where a sweep "
        f"has to go further; {len(study.runs)} runs are finished"
    )


def _train(study: "Study", jobs: int, command: str) -> None:
    """Make all runs, with the time that is left after each."""
    from zoo.ablation.workers import train_all

    with _trainers(jobs) as trainers:
        clock = _Clock(study, len(trainers), _run_seconds(study, trainers))
        _say(clock.left())

        def report(run: "Run") -> None:
            bits = run.trained.bits_per_byte
            score = "diverged" if bits is None else f"{bits:.4f} bits per byte"
            _say(f"{run.workdir}: {score} at a peak of {run.peak_lr:.3g}; {clock.left()}")
            findings = _write(study, command)
            spread = findings.base_std()
            if len(findings.variants) == 1 and not run.variant and spread is not None:
                _say(f"the start's scores spread by {spread:.4f} bits per byte")

        train_all(study, trainers, report)


def _trainers(jobs: int) -> "AbstractContextManager[list[Trainer]]":
    """Return processes that train, or this one."""
    if jobs:
        from zoo.ablation.workers import started

        return started(jobs)
    from zoo.ablation.worker import trained
    from zoo.train import train

    return nullcontext([functools.partial(trained, train)])


def _run_seconds(study: "Study", trainers: "list[Trainer]") -> Callable[[], float]:
    """Return a function that gives the seconds of a run: the mean of those that are finished.

    Without one, a few steps on all trainers at the same time decide: their speed, and the time
    that compilation and evaluation take besides.
    """
    from zoo.ablation.workers import train_together

    estimate = math.nan
    if not study.runs:
        run = study.experiment(next(study.ready()))
        num_steps = min(CALIBRATION_STEPS, run.num_steps)
        short = dataclasses.replace(run, num_steps=num_steps, log_every=1, save_every=num_steps)
        folder = study.folder / "calibration"
        shutil.rmtree(folder, ignore_errors=True)
        found = train_together(short, folder, trainers)
        shutil.rmtree(folder, ignore_errors=True)
        slowest = max(found, key=lambda each: each.seconds)
        if slowest.tokens_per_s is not None:
            estimate = slowest.seconds + run.num_tokens / slowest.tokens_per_s

    def seconds() -> float:
        done = [run.trained.seconds for run in study.runs]
        return sum(done) / len(done) if done else estimate

    return seconds


@dataclass(frozen=True)
class _Clock:
    """The time that a study still needs."""

    study: "Study"
    jobs: int
    run_seconds: Callable[[], float]

    def left(self) -> str:
        """Return the runs and hours that are left."""
        number = self.study.num_left
        hours = number * self.run_seconds() / self.jobs / 3600
        return f"{number} runs left, about {hours:.2g} hours"


def _write(study: "Study", command: str) -> "Findings":
    """Write the page and the Markdown of what is finished, and return it."""
    from zoo.ablation.findings import Findings
    from zoo.ablation.report import forests_of, study_markdown, study_page
    from zoo.common.folders import writing
    from zoo.reporting.record import write_whole

    findings = Findings.of(study)
    page, text = OUTPUTS
    with writing(study.folder):
        write_whole(study.folder / page, study_page(findings, command))
        write_whole(study.folder / text, study_markdown(findings, command))
        for design, drawing in forests_of(findings).items():
            file = drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
            write_whole(study.folder / f"{design}.svg", file)
    return findings


def _show(findings: "Findings") -> None:
    from zoo.ablation.report import tables
    from zoo.explaining.tables import show_tables
    from zoo.explaining.terminal import stdout_console

    show_tables(stdout_console(), tables(findings))


if __name__ == "__main__":
    cli.run(main)
