"""SwiGLU against GELU: an ablation with one choice, beside what two papers print."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.config import check
from zoo.ablation.designs import Variant
from zoo.ablation.equal import TOLERANCE
from zoo.ablation.findings import Findings
from zoo.ablation.report import BITS
from zoo.ablation.study import Run, Study
from zoo.ablation.workers import started, train_all
from zoo.explaining.tables import Table
from zoo.lessons.catalog import FeedForward, Report
from zoo.lessons.differences import differences_from, drawing, sentence, table, to_json
from zoo.lessons.shown import Shown
from zoo.lessons.timing import machine
from zoo.reporting.plots import Line, Panel
from zoo.scaling_laws.sizes import num_params

GATE = (
    "SwiGLU is (Swish(xW) * xV)W2: its gate is Swish, z sigmoid(z), and not GELU, which GEGLU has. "
    "Its third matrix is paid for with two thirds of the width."
)


@dataclass(frozen=True)
class Published:
    """One comparison that a paper prints."""

    source: str
    measure: str
    gelu: float
    swiglu: float

    @property
    def less(self) -> float:
        """SwiGLU's less GELU's."""
        return self.swiglu - self.gelu


PUBLISHED = (
    Published(
        "Shazeer 2020 (arXiv 2002.05202), table 1",
        "T5's held-out log-perplexity, 65,536 steps",
        gelu=1.983,
        swiglu=1.944,
    ),
    Published(
        "Narang et al. 2021 (arXiv 2102.11972), table 1",
        "T5's early loss, 65,536 steps",
        gelu=2.179,
        swiglu=2.127,
    ),
)


def open_study(lesson: FeedForward, folder: Path) -> Study:
    """Return the study of the two variants, which have equal FLOPs and equal parameters.

    Raises ConfigError if they cannot be equal within TOLERANCE.
    """
    study = Study.open(lesson.study(), folder)
    sizes = [num_params(study.made.run(variant).model) for variant in study.variants]
    check(
        abs(sizes[1] / sizes[0] - 1) <= TOLERANCE,
        f"--d-model={lesson.d_model} gives {sizes[0]:,} and {sizes[1]:,} parameters, more than "
        f"{TOLERANCE:.0%} apart at equal FLOPs; write a larger --d-model",
    )
    return study


def show(lesson: FeedForward, report: Report) -> Shown:
    """Train what the study needs in a temporary folder, and return what is seen."""
    with tempfile.TemporaryDirectory(prefix="zoo-demo-") as folder:
        study = open_study(lesson, Path(folder))
        report(f"{study.num_left} runs of {study.made.start.num_tokens:,} tokens")
        with started(lesson.jobs) as trainers:
            train_all(study, trainers, lambda run: report(_line(study, run)))
        return shown(Findings.of(study))


def _line(study: Study, run: Run) -> str:
    bits = run.trained.bits_per_byte
    score = "diverged" if bits is None else f"{bits:.4f} bits per byte"
    name = name_of(study, frozenset(run.variant))
    return f"{name}, peak {run.peak_lr:.3g}, seed {run.seed}: {score}; {study.num_left} runs left"


def name_of(study: Study, variant: Variant) -> str:
    """Return the name of a variant's activation."""
    kind = study.made.run(variant).model.feed_forward.kind
    return "SwiGLU" if kind == "swiglu" else "GELU"


def shown(findings: Findings) -> Shown:
    """Return what a finished study shows."""
    study = findings.study
    scores = {name_of(study, each.variant): each.scores for each in findings.variants}
    differences = differences_from("GELU", scores)
    return Shown(
        title="Feed-forward: SwiGLU against GELU",
        seen=[*(sentence(*each) for each in differences.items()), GATE],
        tables=[_variants(findings), table(differences), _published(), _sweeps(study)],
        panels=[_curves(findings)],
        drawings=[("Difference", drawing("SwiGLU less GELU", differences))],
        device=machine(),
        compared=[
            {
                "name": name_of(study, each.variant),
                "d_ff": each.d_ff,
                "num_params": each.num_params,
                "flops_per_token": each.flops_per_token,
                "peak_lr": each.peak_lr,
                "bits_per_byte": each.mean,
            }
            for each in findings.variants
        ],
        measured=[
            {
                "name": name_of(study, frozenset(run.variant)),
                "peak_lr": run.peak_lr,
                "seed": run.seed,
                "bits_per_byte": run.trained.bits_per_byte,
            }
            for run in study.runs
        ],
        differences=to_json(differences),
        published=[asdict(each) for each in PUBLISHED],
    )


def _variants(findings: Findings) -> Table:
    study = findings.study
    rows = [
        [
            name_of(study, each.variant),
            f"{each.d_ff:,}",
            f"{each.num_params:,}",
            f"{each.flops_per_token:,}",
            f"{each.peak_lr:.3g}{'' if each.is_bracketed else '*'}",
            *(_score(score) for score in each.scores),
            _score(each.mean),
        ]
        for each in findings.variants
    ]
    s, model = study.settings, study.made.start.model
    note = (
        f"The choices and the recipe of {s.start}, layers: {model.num_layers}, width: "
        f"{model.d_model}; {s.source.setting}, {study.made.start.num_tokens:,} tokens a run in "
        f"steps of {s.batch_tokens:,}. A seed sets "
        "the order of the text and draws the parameters; the peak of each variant is the best of "
        "its sweep, with a seed that is not used again. *: it is the lowest or the highest of the "
        "sweep, so there may be a better one."
    )
    seeds = [f"seed {seed}" for seed in study.seeds]
    head = ("", "d_ff", "parameters", "FLOPs per token", "peak rate", *seeds, "mean")
    return Table(f"{BITS.capitalize()} at equal parameters and FLOPs", head, rows, [note])


def _score(bits: float | None) -> str:
    return "diverged" if bits is None else f"{bits:.4f}"


def _published() -> Table:
    rows = [
        [each.source, each.measure, f"{each.gelu:.3f}", f"{each.swiglu:.3f}", f"{each.less:+.3f}"]
        for each in PUBLISHED
    ]
    note = (
        "Nats per token of far larger models, after far longer runs: only the sign and the order "
        "of size compare with the difference above."
    )
    head = ("source", "measure", "GELU", "SwiGLU", "difference")
    return Table("Published", head, rows, [note])


def _sweeps(study: Study) -> Table:
    rows = []
    for variant in study.variants:
        tried = sorted(study.runs_of_sweep(variant), key=lambda run: run.peak_lr)
        cells = (f"{run.peak_lr:.3g}: {_score(run.trained.bits_per_byte)}" for run in tried)
        rows.append([name_of(study, variant), "; ".join(cells)])
    return Table("Sweeps of the learning rate", ("", "peaks"), rows, has_numbers=False)


def _curves(findings: Findings) -> Panel:
    study, lines = findings.study, []
    for style, each in enumerate(findings.variants):
        curves = [np.array(run.trained.curve) for run in each.runs if run.trained.curve]
        shortest = min(map(len, curves), default=0)
        if shortest:
            steps, losses = np.mean([curve[:shortest] for curve in curves], axis=0).T
            lines.append(Line(name_of(study, each.variant), steps, losses, style=style))
    return Panel("training loss", "step", "nats per token, mean of the seeds", lines, shows="end")
