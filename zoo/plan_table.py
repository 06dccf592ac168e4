"""Plan every published size on hardware like its paper's: `python -m zoo.plan_table --out=docs/plans.md`.

Of Chinchilla's 50 models of the scaling study only the 70B has a row: they are smaller than others here.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from zoo import cli


@dataclass(frozen=True)
class Row:
    """A published size, the hardware and the mesh; batch and length are the paper's."""

    model: str
    topology: str
    num_slices: int
    data: int
    fsdp: int
    tensor: int
    micro_batches: int = 1


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
# fmt: on

HEAD = """# Every published size, planned

Made by `python -m zoo.plan_table --out=docs/plans.md`: the real train step at the paper's batch and
length, rematerialised in full, compiled by libtpu (as with --quick) for hardware that was not there.
GiB are per device. Step and MFU are estimates from published peaks with everything overlapping
perfectly: bounds, not promises.

Sizes that GPUs trained are planned on TPUs of at least the memory that they need. Of Chinchilla's 50
models of the scaling study only the 70B has a row: the others are smaller than models that have one.

| model | devices | mesh | state | temporaries | total of GiB | fits | FLOPs a step | step at best | MFU at most | compiled in |
|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class TableCommand:
    """The flags of `python -m zoo.plan_table`."""

    out: str = "docs/plans.md"
    """Where the table is written; the rows of models that are not planned now stay."""
    only: str = ""
    """Plan only the models whose names start so."""
    estimate_only: bool = False
    """Do not compile."""


def main(argv: list[str]) -> None:
    """Write the table, row by row, so that an interrupted one is not lost."""
    command = cli.parse(
        TableCommand, argv, prog="python -m zoo.plan_table",
        description="Plan every published size on hardware like its paper's.",
    )  # fmt: skip

    import jax

    import configs
    from configs.experiment import Mesh
    from zoo.distribution import sharding
    from zoo.planning import hardware as topology
    from zoo.planning import training as planning

    jax.config.update("jax_platforms", "cpu")
    path = Path(command.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = _written(path)
    for row in ROWS:
        if not row.model.startswith(command.only):
            continue
        hardware = topology.parse(row.topology, row.num_slices)
        experiment = planning.on_accelerator(configs.get(row.model))
        experiment = dataclasses.replace(
            experiment,
            micro_batches=row.micro_batches,
            execution=dataclasses.replace(experiment.execution, remat="full"),
        )
        mesh = Mesh(data=row.data, fsdp=row.fsdp, tensor=row.tensor)
        shape = sharding.mesh_shape(mesh, hardware.num_devices)
        if command.estimate_only:
            plan = planning.estimate(experiment, hardware, shape)
        else:
            plan = planning.compile(experiment, hardware, shape, quick=True)
        rows[row.model] = _line(row, plan)
        cli.console.print(rows[row.model].strip(), soft_wrap=True)
        path.write_text(HEAD + "".join(rows[r.model] for r in ROWS if r.model in rows))


def _written(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cells = [line.split("|") for line in lines if line.startswith("| ")]
    return {cell[1].strip(): "|".join(cell) + "\n" for cell in cells}


def _line(row: Row, plan) -> str:
    gib, by = 2**30, plan.bytes
    slices = f"{row.num_slices} x " if row.num_slices > 1 else ""
    micro = f", {row.micro_batches} micro-batches" if row.micro_batches > 1 else ""
    mesh = " ".join(f"{axis} {size}" for axis, size in plan.shape.items() if size > 1)
    cells = (
        row.model,
        f"{slices}{row.topology}, {plan.topology.num_devices:,}",
        mesh + micro,
        f"{(by.params + by.optimizer) / gib:.2f}",
        f"{(by.gradients + by.temporaries + by.code) / gib:.2f}",
        f"{by.total / gib:.2f} of {plan.topology.chip.hbm_bytes / gib:.2f}",
        "yes" if plan.fits else "no",
        f"{plan.flops_per_step:.2g}",
        f"{plan.roofline.step_s:.2f} s",
        f"{plan.roofline.mfu:.0%}",
        "estimated" if plan.compile_s is None else f"{plan.compile_s:.0f} s",
    )
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    cli.run(main)
