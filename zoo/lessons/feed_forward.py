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
from zoo.lessons.differences import drawing, sentence, table, to_json
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

    Raises ConfigError if the models do not differ in the feed-forward layers as the lesson needs,
    or cannot be equal within TOLERANCE.
    """
    study = Study.open(lesson.study(), folder)
    gelu, swiglu = (study.made.run(variant).model for variant in study.variants)
    kinds = gelu.feed_forward.kind, swiglu.feed_forward.kind
    check(
        kinds[0] != "swiglu" and kinds[1] == "swiglu",
        f"--start={lesson.start} has {kinds[0]} and --end={lesson.end} {kinds[1]}; the lesson "
        "needs GELU at the start and SwiGLU at the end: write --start=gpt2_small --end=llama_small",
    )
    sizes = num_params(gelu), num_params(swiglu)
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
    name = _name(frozenset(run.variant))
    return f"{name}, peak {run.peak_lr:.3g}, seed {run.seed}: {score}; {study.num_left} runs left"


def _name(variant: Variant) -> str:
    return "SwiGLU" if variant else "GELU"


def shown(findings: Findings) -> Shown:
    """Return what a finished study shows."""
    found = [effect for _, effect in findings.effects.get("from_start", [])]
    differences = {"SwiGLU less GELU": found[0] if found else None}
    return Shown(
        title="Feed-forward: SwiGLU against GELU",
        seen=[*(sentence(*each) for each in differences.items()), GATE],
        tables=[_variants(findings), table(differences), _published(), _sweeps(findings.study)],
        panels=[_curves(findings)],
        drawings=[("Difference", drawing("SwiGLU less GELU", differences))],
        device=machine(),
        compared=[
            {
                "name": _name(each.variant),
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
                "name": _name(frozenset(run.variant)),
                "peak_lr": run.peak_lr,
                "seed": run.seed,
                "bits_per_byte": run.trained.bits_per_byte,
            }
            for run in findings.study.runs
        ],
        differences=to_json(differences),
        published=[asdict(each) for each in PUBLISHED],
    )


def _variants(findings: Findings) -> Table:
    rows = [
        [
            _name(each.variant),
            f"{each.d_ff:,}",
            f"{each.num_params:,}",
            f"{each.flops_per_token:,}",
            f"{each.peak_lr:.3g}{'' if each.is_bracketed else '*'}",
            *(_score(score) for score in each.scores),
            _score(each.mean),
        ]
        for each in findings.variants
    ]
    s = findings.study.settings
    note = (
        f"The shape and the recipe of {s.start}, {s.source.setting}, "
        f"{findings.study.made.start.num_tokens:,} tokens a run in steps of {s.batch_tokens:,}. A "
        "seed sets the order of the text and draws the parameters; the peak of each variant is the "
        "best of three, found with a seed that is not used again. *: the best is the lowest or the "
        "highest of the three, so there may be a better one."
    )
    seeds = [f"seed {seed}" for seed in findings.study.seeds]
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
        rows.append([_name(variant), "; ".join(cells)])
    return Table("Sweeps of the learning rate", ("", "peaks"), rows, has_numbers=False)


def _curves(findings: Findings) -> Panel:
    lines = []
    for style, each in enumerate(findings.variants):
        curves = [np.array(run.trained.curve) for run in each.runs if run.trained.curve]
        shortest = min(map(len, curves), default=0)
        if shortest:
            steps, losses = np.mean([curve[:shortest] for curve in curves], axis=0).T
            lines.append(Line(_name(each.variant), steps, losses, style=style))
    return Panel("training loss", "step", "nats per token, mean of the seeds", lines, shows="end")
