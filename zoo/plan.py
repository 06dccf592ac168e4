"""Plan a run on hardware, present or not.

`python -m zoo.plan --model=palm_540b --topology=v4:12x16x16`. The plans are made in zoo/planning/.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from configs.experiment import Experiment, Weights
from models.config import check
from zoo.command_line import cli
from zoo.command_line.model_flags import parse_with_model
from zoo.planning import Effort

SHORT_FORMS = {
    "--search": "--goal=search",
    "--decode": "--goal=decode",
    "--estimate-only": "--effort=estimate",
    "--quick": "--effort=quick",
}
MAX_RANKED = 20
"""Plans that --goal=search --json prints, at most."""


@dataclass(frozen=True, kw_only=True)
class PlanCommand:
    """The flags of `python -m zoo.plan`, besides those of the experiment."""

    name: tyro.conf.Suppress[str]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    topology: str
    """The hardware, such as v4:12x16x16, v5e:16x16 or h100:512; a wrong name prints all names."""
    num_slices: int = 1
    """TPU slices of that shape, joined by the data-centre network."""
    goal: Literal["train", "search", "decode"] = "train"
    """`train`: plan the train step on the mesh of the --mesh flags. `search`: try meshes,
    micro-batches and remat policies, and rank those that fit. `decode`: plan serving, the step that
    decodes one token for every sequence. --search and --decode are short forms."""
    effort: Effort = "full"
    """`full`: compile the program as a run does. `quick`: compile it about three times as fast,
    with less optimisation (TPUs only), which a search always does; bytes are within about a tenth.
    `estimate`: do not compile, as without libtpu (for TPUs) or the CUDA wheels (for GPUs). Short
    forms: --quick, --estimate-only."""
    decode_batch: int = 64
    """Sequences decoded together, each with a full context."""
    weights: Weights = "run"
    """With --goal=decode, the weights in the precision of the run, or int8."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check(self.decode_batch > 0, f"--decode-batch={self.decode_batch} must be above zero")
        check(
            self.weights == "run" or self.goal == "decode",
            f"--weights={self.weights} is for --goal=decode; training has weights of its own",
        )


def main(argv: list[str]) -> None:
    """Print the plan. Raises OutOfMemoryError (exit code 5) if it does not fit."""
    command = parse_with_model(
        lambda experiment, name: PlanCommand(name=name, experiment=experiment, topology="v5e:4x4"),
        expand_short_forms(argv),
        prog="python -m zoo.plan",
        description="Plan a model's training or serving on hardware that need not be present.",
    )

    import jax

    from zoo.common.errors import OutOfMemoryError
    from zoo.distribution.sharding import mesh_shape
    from zoo.planning import auto_mesh, hardware, tables
    from zoo.planning.compilation import why_estimated
    from zoo.planning.inference_mesh import Sampling
    from zoo.planning.remedies import plan_message
    from zoo.planning.search import compile_best, search
    from zoo.planning.serving import plan_serving
    from zoo.planning.training import on_accelerator, plan_training

    jax.config.update("jax_platforms", "cpu")  # a plan uses no device
    name = command.name
    topology = hardware.parse(command.topology, command.num_slices)
    experiment = on_accelerator(command.experiment)
    if experiment.mesh.auto and command.goal != "search":
        mesh, reason = auto_mesh.choose(
            experiment,
            topology.num_devices,
            topology.chip.hbm_bytes,
            topology.devices_per_island,
            Sampling(command.decode_batch, command.weights)
            if command.goal == "decode"
            else auto_mesh.TRAINING,
        )
        cli.console.print(f"mesh: {reason}", soft_wrap=True)
        experiment = dataclasses.replace(experiment, mesh=mesh)
    reason = None if command.effort == "estimate" else why_estimated(topology)
    if reason is not None:
        cli.console.print(reason, markup=False, soft_wrap=True)
    effort = command.effort if reason is None else "estimate"

    match command.goal:
        case "train":
            shape = mesh_shape(experiment.mesh, topology.num_devices)
            plan = plan_training(experiment, topology, shape, effort)
            summary, table = plan.summary(name), tables.training_table(plan, name)
        case "search":
            ranked = search(experiment, topology)
            check(
                len(ranked) > 0,
                f"--model={name} fits no mesh of {topology.name} x {topology.num_slices} by the "
                "estimate; take more or larger devices, or a smaller --batch-tokens",
            )
            plan = ranked[0] if effort == "estimate" else compile_best(ranked, cli.console.print)
            best = [ranking.summary(name) for ranking in ranked[:MAX_RANKED]]
            summary = {"best": plan.summary(name), "ranked": best}
            table = f"{tables.ranking_table(ranked)}\n{tables.training_table(plan, name)}"
        case "decode":
            shape = mesh_shape(experiment.mesh, topology.num_devices)
            plan = plan_serving(
                experiment, topology, shape, command.decode_batch, effort, command.weights
            )
            summary, table = plan.summary(name), tables.serving_table(plan, name)
    print(json.dumps(summary) if command.json else table)
    if not plan.fits:
        raise OutOfMemoryError(plan_message(plan))


def expand_short_forms(argv: list[str]) -> list[str]:
    """Return `argv` with short forms spelled out, such as --goal=decode for --decode.

    Raises ConfigError if --goal or --effort gets two different values.
    """
    flags = [SHORT_FORMS.get(flag.replace("_", "-"), flag) for flag in argv]
    for name in ("--goal", "--effort"):
        # `--goal decode` is also a way to write `--goal=decode`.
        pairs = zip(flags, [*flags[1:], ""], strict=True)
        given = {f"{name}={value}" if flag == name else flag for flag, value in pairs}
        values = sorted(flag for flag in given if flag.startswith(f"{name}="))
        check(len(values) < 2, f"{' and '.join(values)} exclude each other; write only one of them")
    return flags


if __name__ == "__main__":
    cli.run(main)
