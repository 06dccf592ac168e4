"""Plan every published size on hardware like its paper's.

`python -m zoo.planning.plan_table --out=docs/plans.md`. The 50 models of Chinchilla's scaling study
have no rows: each is smaller than a model that has one.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.command_line import cli
from zoo.planning import Effort

if TYPE_CHECKING:
    from zoo.planning.training import TrainingPlan


@dataclass(frozen=True)
class Row:
    """A published size, its hardware and its mesh. The batch and the length are the paper's."""

    model: str
    topology: str
    num_slices: int
    data: int
    fsdp: int
    tensor: int
    micro_batches: int = 1
    effort: Effort = "quick"

    @property
    def key(self) -> tuple[str, str]:
        """The model and its hardware, by which a row is found in an earlier table."""
        slices = f"{self.num_slices} x " if self.num_slices > 1 else ""
        return self.model, f"{slices}{self.topology}"


# fmt: off
ROWS = [
    # model          topology      slices data fsdp tensor micro-batches; the paper's hardware
    Row("gpt1_117m",      "v5e:2x4",      1, 1,   8,  1),     # 8 P600
    Row("gpt2_124m",      "v5e:4x8",      1, 1,  32,  1),     # not published
    Row("gpt2_355m",      "v5e:4x8",      1, 1,  32,  1),
    Row("gpt2_774m",      "v5e:4x8",      1, 1,  32,  1),
    Row("gpt2_1558m",     "v5e:4x8",      1, 1,  32,  1),
    Row("gpt3_125m",      "v5e:16x16",    1, 4,  64,  1),     # V100
    Row("gpt3_350m",      "v5e:16x16",    1, 4,  64,  1),
    Row("gpt3_760m",      "v5e:16x16",    1, 4,  64,  1),
    Row("gpt3_1.3b",      "v5e:16x16",    1, 4,  64,  1),
    Row("gpt3_2.7b",      "v5e:16x16",    1, 4,  64,  1),
    Row("gpt3_6.7b",      "v5e:16x16",    1, 4,  64,  1),
    Row("gpt3_13b",       "v5e:16x16",    1, 4,  64,  1, 4),
    Row("gpt3_175b",      "v5p:8x8x8",    1, 1, 128,  4),
    Row("jurassic1_7.5b", "v5e:16x16",    1, 1,  64,  4, 4),  # GPUs
    Row("jurassic1_178b", "v5p:8x8x8",    1, 1, 128,  4),
    Row("mt_nlg_530b",    "v5p:8x16x16",  1, 1, 128, 16),     # 3360 A100 of 80 GB
    Row("gopher_44m",     "v3:4x8",       1, 1,  64,  1),     # TPU v3
    Row("gopher_117m",    "v3:4x8",       1, 1,  64,  1),
    Row("gopher_417m",    "v3:4x8",       1, 1,  64,  1),
    Row("gopher_1.4b",    "v3:4x8",       1, 1,  64,  1),
    Row("gopher_7.1b",    "v3:16x16",     1, 1, 256,  2),
    Row("gopher_280b",    "v3:32x32",     4, 4, 256,  8, 3),  # 4096 TPU v3
    Row("chinchilla_70b", "v4:8x8x16",    1, 1, 256,  4),     # TPU v3 and v4
    Row("palm_8b",        "v4:4x8x8",     1, 1, 128,  2),     # TPU v4
    Row("palm_62b",       "v4:8x8x8",     1, 1, 128,  4),
    Row("palm_540b",      "v4:12x16x16",  2, 2, 256, 12),     # 6144 TPU v4 in two pods
    Row("llama_7b",       "v5p:8x8x8",    1, 4, 128,  1),     # A100 of 80 GB
    Row("llama_13b",      "v5p:8x8x8",    1, 4, 128,  1),
    Row("llama_33b",      "v5p:8x8x8",    1, 4, 128,  1),
    Row("llama_65b",      "v5p:8x8x8",    1, 4, 128,  1),     # 2048 of them
]
GPU_ROWS = [
    Row("gpt1_117m",      "a100_80gb:8",    1,   1,   8,  1),
    Row("gpt2_124m",      "a100_80gb:32",   1,   1,  32,  1),
    Row("gpt2_355m",      "a100_80gb:32",   1,   1,  32,  1),
    Row("gpt2_774m",      "a100_80gb:32",   1,   1,  32,  1),
    Row("gpt2_1558m",     "a100_80gb:32",   1,   1,  32,  1),
    Row("gpt3_125m",      "a100_80gb:256",  1,   4,  64,  1),
    Row("gpt3_350m",      "a100_80gb:256",  1,   4,  64,  1),
    Row("gpt3_760m",      "a100_80gb:256",  1,   4,  64,  1),
    Row("gpt3_1.3b",      "a100_80gb:256",  1,   4,  64,  1),
    Row("gpt3_2.7b",      "a100_80gb:256",  1,   4,  64,  1),
    Row("gpt3_6.7b",      "a100_80gb:256",  1,   4,  64,  1),
    Row("gpt3_13b",       "a100_80gb:256",  1,   4,  64,  1, 4),
    Row("gpt3_175b",      "a100_80gb:1024", 1,   1, 128,  8),
    Row("jurassic1_7.5b", "a100_80gb:256",  1,   1,  64,  4, 4),
    Row("jurassic1_178b", "a100_80gb:1024", 1,   1, 128,  8),
    Row("mt_nlg_530b",    "a100_80gb:1920", 1,   3,  80,  8, effort="estimate"),
    Row("llama_7b",       "a100_80gb:2048", 1, 256,   8,  1),
    Row("llama_13b",      "a100_80gb:2048", 1, 256,   8,  1),
    Row("llama_33b",      "a100_80gb:2048", 1,  64,  32,  1),
    Row("llama_65b",      "a100_80gb:2048", 1,  32,  64,  1),
]
# fmt: on
"""The sizes that were trained on GPUs, on A100s of 80 GB: as LLaMA and MT-NLG were, and more modern
than what the others had."""

ALL_ROWS = [
    row for first in ROWS for row in (first, *(r for r in GPU_ROWS if r.model == first.model))
]
"""All rows, those of a model together."""

HEAD = """# A plan for every published size

Made by `python -m zoo.planning.plan_table --out=docs/plans.md`. Each row is the real train step at
the paper's batch and sequence length, with full rematerialisation. XLA compiled it (as with
`--effort=quick`) for hardware that was not present: libtpu for TPUs, and for GPUs the CUDA wheels
(Python 3.12 or later, `pip install 'gpt-zoo[gpu]'`). A row that says "estimated" was not compiled:
the compiler for GPUs (jaxlib 0.12.0) aborts on a mesh of 3 x 80 x 8.
GiB are per device. "At best" and "at most" are bounds from published peaks, with everything
overlapping perfectly. "Probably" is the prediction that the end of this page explains.

Sizes that were trained on GPUs have two rows, on TPUs and on GPUs. The 50 models of Chinchilla's
scaling study have no rows: each is smaller than a model that has one.

"""
COLUMNS = (
    "model",
    "devices",
    "mesh",
    "state",
    "temporaries",
    "total of available",
    "fits",
    "FLOPs per step",
    "step at best",
    "MFU at most",
    "step, probably",
    "MFU, probably",
    "compiled in",
)


@dataclass(frozen=True, kw_only=True)
class TableCommand:
    """The flags of `python -m zoo.planning.plan_table`."""

    out: str = "docs/plans.md"
    """File to write the table to. Its rows that are not planned now stay, and so do rows for which
    the compiler is missing here."""
    only: str = ""
    """Plan only the models whose names start with this text."""
    estimate_only: bool = False
    """Do not compile."""


def main(argv: list[str]) -> None:
    """Plan row by row. The file is written after each, so that an interrupted table is not lost."""
    command = cli.parse(
        TableCommand,
        argv,
        prog="python -m zoo.planning.plan_table",
        description="Plan every published size on hardware like its paper's.",
    )

    import jax

    import configs
    from configs.experiment import Mesh
    from zoo.distribution.sharding import mesh_shape
    from zoo.planning import hardware
    from zoo.planning.compilation import why_estimated
    from zoo.planning.training import on_accelerator, plan_training

    jax.config.update("jax_platforms", "cpu")
    path = Path(command.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _read_lines(path)
    for row in (row for row in ALL_ROWS if row.model.startswith(command.only)):
        topology = hardware.parse(row.topology, row.num_slices)
        reason = why_estimated(topology)
        if reason is not None and row.key in lines and not command.estimate_only:
            kept = f"{' on '.join(row.key)}: kept, since {reason}"
            cli.console.print(kept, soft_wrap=True, markup=False)
            continue
        experiment = on_accelerator(configs.get(row.model))
        experiment = dataclasses.replace(
            experiment,
            micro_batches=row.micro_batches,
            execution=dataclasses.replace(experiment.execution, remat="full"),
        )
        mesh = Mesh(data=row.data, fsdp=row.fsdp, tensor=row.tensor)
        shape = mesh_shape(mesh, topology.num_devices)
        effort = "estimate" if command.estimate_only or reason is not None else row.effort
        line = _line(row, plan_training(experiment, topology, shape, effort))
        lines[row.key] = line
        cli.console.print(line.strip(), soft_wrap=True)
        path.write_text(_table([lines[row.key] for row in ALL_ROWS if row.key in lines]))


def _read_lines(path: Path) -> dict[tuple[str, str], str]:
    """Return the lines of an earlier table, by the key of their row."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    text = text.partition("## The prediction")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    keys = (line.split("|")[1:3] for line in lines)
    return {
        (model.strip(), devices.strip().rpartition(", ")[0]): f"{line}\n"
        for (model, devices), line in zip(keys, lines, strict=True)
    }


def _table(lines: list[str]) -> str:
    return HEAD + _cells(*COLUMNS) + _rule(COLUMNS) + "".join(lines) + _published()


def _published() -> str:
    """Return the section about the prediction: its coefficients, and every run and its residual."""
    from zoo.planning.speed import calibration
    from zoo.planning.speed.prediction import FITTED
    from zoo.planning.speed.published_runs import published_runs

    c = FITTED
    median, rms = 100 * calibration.LEFT_OUT_MEDIAN, 100 * calibration.LEFT_OUT_RMS
    head = f"""
## The prediction

A step takes the time of its matrix products, of attention, of the memory traffic between them, and
of the communication that they do not hide (`zoo/planning/speed/prediction.py` has the equation).
Five numbers are fitted to the {len(published_runs())} published runs below. A large product reaches
{c.tpu:.0%} of the peak of a TPU, {c.a100:.0%} of an A100 and {c.hopper:.0%} of an H100 or later;
attention, with all keys counted, runs at {c.attention:.2f} of that speed; {c.exposed:.0%} of the
communication is never hidden. A product of small matrices is slower, by the bytes that it moves.
For a run that is left out of the fit, the error is {median:.1f} points of MFU in the median and
{rms:.1f} in the root mean square. MFU is PaLM's, 6N + 12LHQT per token. The runs are other people's
programs: the prediction says what good software reaches on this hardware, not what the zoo was seen
to reach. A plan is marked if it lies more than 15 points from the published run nearest to it in
size on chips of its kind.

"""
    columns = "run", "devices", "mesh", "published", "predicted", "difference", "source"
    rows = []
    for run in published_runs():
        predicted = calibration.predict_run(run)
        far = " (more than 15 points)" if calibration.is_far(predicted, run) else ""
        assumed = f" (assumed: {run.assumed})" if run.assumed else ""
        slices = f"{run.topology.num_slices} x " if run.topology.num_slices > 1 else ""
        mesh = " ".join(f"{axis} {size}" for axis, size in run.shape.items() if size > 1)
        cells = run.name, f"{slices}{run.topology.name}", mesh, f"{run.mfu:.1%}"
        difference = f"{100 * (predicted.mfu - run.mfu):+.1f}{far}"
        rows.append(_cells(*cells, f"{predicted.mfu:.1%}", difference, run.source + assumed))
    return head + _cells(*columns) + _rule(columns) + "".join(rows)


def _rule(columns: Sequence[str]) -> str:
    return "|---" * len(columns) + "|\n"


def _line(row: Row, plan: "TrainingPlan") -> str:
    gib, held = 2**30, plan.bytes
    micro_batches = f", {row.micro_batches} micro-batches" if row.micro_batches > 1 else ""
    mesh = " ".join(f"{axis} {size}" for axis, size in plan.shape.items() if size > 1)
    return _cells(
        row.model,
        f"{row.key[1]}, {plan.topology.num_devices:,}",
        mesh + micro_batches,
        f"{(held.params + held.optimizer) / gib:.2f}",
        f"{(held.gradients + held.temporaries + held.code) / gib:.2f}",
        f"{held.total / gib:.2f} of {plan.topology.chip.hbm_bytes / gib:.2f}",
        "yes" if plan.fits else "no",
        f"{plan.flops_per_step:.2g}",
        f"{plan.roofline.step_s:.2f} s",
        f"{plan.roofline.mfu:.0%}",
        f"{plan.prediction.step_s:.2f} s",
        f"{plan.prediction.mfu:.0%}{' (far from the nearest)' if plan.is_far else ''}",
        "estimated" if plan.compile_s is None else f"{plan.compile_s:.0f} s",
    )


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    cli.run(main)
