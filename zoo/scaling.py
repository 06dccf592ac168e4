"""Fit scaling laws, plan and train by them: `python -m zoo.scaling fit|plan|run`.

`python -m zoo.scaling length` measures the loss by position, within and beyond the trained length.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from configs.experiment import Experiment
from models.config import ConfigError, check
from zoo.command_line import cli
from zoo.reporting.output import PICTURES, check_out, write_out

if TYPE_CHECKING:
    from zoo.scaling_laws.fit import Fit
    from zoo.scaling_laws.study import Trained


@dataclass(frozen=True, kw_only=True)
class FitCommand:
    """Fit a scaling law to finished runs."""

    points: str
    """CSV file with the columns params, tokens and loss (nats per token); others are ignored."""
    out: str = "scaling.html"
    """File to write: .html has curves and tables; .png, .svg and .pdf have the curves alone."""
    leave_out: int | None = None
    """Leave this many runs out of the second fit: those furthest from the law, one by one; 0: fit
    all runs only. None: all runs beyond 6 robust deviations. They are always listed."""
    resamples: int = 200
    """Bootstrap samples of the runs, for the intervals."""
    flops: float | None = None
    """Budget to give the best model for; None: ten times that of the largest run."""
    family: str | None = None
    """Family of the zoo whose sizes the runs have: adds the exponents by other counts of parameters
    and FLOPs."""
    corpus_tokens: float | None = None
    """Tokens of the training text, for a warning where runs repeat it."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        for name in ("resamples", "flops", "corpus_tokens"):
            value, flag = getattr(self, name), name.replace("_", "-")
            check(value is None or value > 0, f"--{flag}={value} must be above zero")
        check(
            self.leave_out is None or self.leave_out >= 0,
            f"--leave-out={self.leave_out} must not be negative; write --leave-out=0 to fit all",
        )
        check_out(self.out, (".html", *PICTURES))

    def run(self) -> None:
        """Fit, print the tables and write the page."""
        from zoo.scaling_laws.conventions import counts_of_family
        from zoo.scaling_laws.fit import Question, fit
        from zoo.scaling_laws.points import read_points

        points = read_points(self.points)
        counts = None if self.family is None else counts_of_family(points, self.family)
        question = Question(self.leave_out, self.resamples, self.flops, self.corpus_tokens)
        cli.console.print(f"fitting {len(points)} runs", markup=False)
        _show_fit(fit(points, question, counts), self.points, self.out, is_json=self.json)


def _show_fit(fit: "Fit", source: str, out: str, *, is_json: bool) -> None:
    from zoo.explaining.tables import show_tables
    from zoo.explaining.terminal import stdout_console
    from zoo.reporting.plots import picture
    from zoo.scaling_laws.fit_report import fit_page, fit_panels, fit_tables

    is_page = out.endswith(".html")
    kind = Path(out).suffix.removeprefix(".")
    write_out(
        out, fit_page(fit, source) if is_page else picture(fit_panels(fit), source, kind=kind)
    )
    if is_json:
        print(json.dumps({**fit.to_json(), "out": out}))
    else:
        show_tables(stdout_console(), fit_tables(fit))
        cli.console.print(f"\nwrote {out}", markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class PlanCommand:
    """Split a compute budget by the published laws, with its cost and the models of the zoo."""

    flops: float
    """Training FLOPs, such as 5.76e23."""
    topology: tuple[str, ...] = ("v4:8x8x16", "v5p:8x8x8", "h100:512")
    """Hardware to price, as for zoo.plan."""
    mfu: float = 0.4
    """Model FLOPs utilisation of the price."""
    out: str | None = None
    """Page to write. None: none."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check(0 < self.flops < float("inf"), f"--flops={self.flops:g} must be above zero")
        check(0 < self.mfu <= 1, f"--mfu={self.mfu:g} must lie between 0 and 1; write --mfu=0.4")
        if self.out is not None:
            check_out(self.out, (".html",))

    def run(self) -> None:
        """Print the tables, and write the page if one is asked for."""
        from zoo.explaining.tables import show_tables
        from zoo.explaining.terminal import stdout_console
        from zoo.scaling_laws.plan import plan, plan_page, plan_tables

        found = plan(self.flops, self.topology, self.mfu)
        if self.out is not None:
            write_out(self.out, plan_page(found))
        if self.json:
            print(json.dumps(found.to_json()))
            return
        show_tables(stdout_console(), plan_tables(found))
        if self.out is not None:
            cli.console.print(f"\nwrote {self.out}", markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """Train a grid of sizes for each of several budgets, then fit. The same command resumes it."""

    family: str = "llama"
    """Family whose proportions and recipe the models have."""
    budgets: str = "3e12,1e13,3e13"
    """Training FLOPs (6ND) of a run, rising."""
    num_sizes: int = 5
    """Models of each budget."""
    spacing: float = 1.6
    """Ratio of the parameters of neighbouring models."""
    vocab_size: int = 512
    """Tokens of the vocabulary, which is trained on the text; of a small model, the tables are most
    of it."""
    seq_len: int = 128
    """Tokens of a sequence."""
    batch_tokens: int = 1024
    """Tokens of a step, in every run."""
    files: str | None = None
    """Train on these files, a glob. None: the Python standard library's source text."""
    workdir: str = "runs/scaling"
    """Folder of the study: a workdir for each run, study.json, points.csv and scaling.html."""
    resamples: int = 200
    """Bootstrap samples of the runs, for the intervals."""
    flops: float | None = None
    """Budget to give the best model for; None: ten times that of the largest run."""
    dry_run: bool = False
    """Say what the study costs, and train nothing but a few steps."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def run(self) -> None:
        """Train what is not trained yet, fit and write the page."""
        from data.config import Files, Task
        from zoo.common.lock import held
        from zoo.scaling_laws.fit import Question, fit
        from zoo.scaling_laws.study import Settings, Study

        source = Task() if self.files is None else Files(self.files)
        settings = Settings(
            self.family, _numbers(self.budgets), self.num_sizes, self.spacing, self.vocab_size,
            self.seq_len, self.batch_tokens, source.setting,
        )  # fmt: skip
        study = Study.open(settings, source, Path(self.workdir))

        def report(line: str) -> None:
            cli.console.print(f"study: {line}", markup=False, soft_wrap=True)

        with held(study.folder, report):
            if study.is_finished:
                report("all runs are finished")
            else:
                report(study.cost(_train))
                if self.dry_run:
                    return
                study.train(_train, report)
            question = Question(None, self.resamples, self.flops, study.corpus_tokens)
            found = fit(study.points(), question, study.counts())
            out = str(study.folder / "scaling.html")
            _show_fit(found, str(study.folder), out, is_json=self.json)


@dataclass(frozen=True, kw_only=True)
class LengthCommand:
    """Measure the loss by position, within the trained length and beyond it."""

    runs: tuple[str, ...]
    """Workdirs of runs, such as one each with learned, relative and rotary positions."""
    max_length: int = 1024
    """Tokens of a window of held-out text."""
    max_windows: int = 200
    """Windows to score."""
    out: str = "length.html"
    """Page to write."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        for name in ("max_length", "max_windows"):
            value, flag = getattr(self, name), name.replace("_", "-")
            check(value > 0, f"--{flag}={value} must be above zero")
        check(len(self.runs) > 0, "--runs names no run; write for example --runs runs/palm_small")
        check_out(self.out, (".html",))

    def run(self) -> None:
        """Score the held-out text of each run, print the table and write the page."""
        from zoo.checkpoints import checkpoint
        from zoo.common.progress import Progress
        from zoo.distribution.devices import configure
        from zoo.explaining.tables import show_tables
        from zoo.explaining.terminal import stdout_console
        from zoo.lessons.length import held_out_tokens, loss_by_position
        from zoo.lessons.length_report import length_page, length_table, to_json
        from zoo.planning.placement import load

        configure()
        report, measured = Progress(cli.console), []
        for path in self.runs:
            folder = checkpoint.find(path, flag="--runs")
            model, name = load(folder), Path(path).absolute().name
            tokens = held_out_tokens(model, folder, report)
            report.line(f"{name}: up to {self.max_windows} windows of {self.max_length:,} tokens")
            measured.append(
                loss_by_position(model, name, tokens, self.max_length, self.max_windows)
            )
        write_out(self.out, length_page(measured))
        if self.json:
            print(json.dumps({**to_json(measured), "out": self.out}))
            return
        show_tables(stdout_console(), [length_table(measured)])
        cli.console.print(f"\nwrote {self.out}", markup=False, soft_wrap=True)


def _numbers(budgets: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in budgets.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--budgets={budgets} must be numbers with commas between them; write for example "
            "--budgets=3e12,1e13,3e13"
        ) from error


def _train(experiment: Experiment, workdir: Path) -> "Trained":
    """Train one run of a study."""
    from zoo.scaling_laws.study import Trained
    from zoo.train import train

    result = train(experiment, workdir)
    epochs = result.metrics[-1]["data/epochs"]
    return Trained(result.evaluation["eval/loss"], epochs, result.tokens_per_s)


Action = (
    Annotated[FitCommand, tyro.conf.subcommand("fit")]
    | Annotated[PlanCommand, tyro.conf.subcommand("plan")]
    | Annotated[RunCommand, tyro.conf.subcommand("run")]
    | Annotated[LengthCommand, tyro.conf.subcommand("length")]
)


@dataclass(frozen=True, kw_only=True)
class ScalingCommand:
    """The subcommands of `python -m zoo.scaling`."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]


def main(argv: list[str]) -> None:
    """Run one of the subcommands."""
    command = cli.parse(
        ScalingCommand,
        argv,
        prog="python -m zoo.scaling",
        description="Fit scaling laws, plan a run with them, and measure them with own runs; "
        "measure the loss by position.",
    )
    command.action.run()


if __name__ == "__main__":
    cli.run(main)
