"""Plans of training: one train step on one mesh."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from configs.experiment import Experiment
from zoo.distribution.devices import choose_attention
from zoo.distribution.sharding import mesh_flags, pipeline_micro_batches
from zoo.planning import Effort, compilation, memory
from zoo.planning.compilation import DoesNotFitError
from zoo.planning.hardware import Topology
from zoo.planning.memory import TrainingBytes
from zoo.planning.plan import Plan
from zoo.planning.speed import calibration, roofline
from zoo.planning.speed.collectives import Collective
from zoo.planning.speed.prediction import Prediction, predict
from zoo.planning.speed.published_runs import PublishedRun
from zoo.planning.speed.roofline import Roofline


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(Plan):
    """One train step on one mesh."""

    experiment: Experiment
    bytes: TrainingBytes
    flops_per_step: float
    roofline: Roofline
    """The bound that the published peaks set."""
    prediction: Prediction
    """The speed that published runs make likely."""
    attention: str = ""
    """The kernel that computes attention, and the reason for it."""

    @property
    def nearest_run(self) -> PublishedRun:
        """The published run of the most similar size on chips of the same kind."""
        return calibration.nearest_run(self.experiment, self.topology)

    @property
    def is_far(self) -> bool:
        """True if the predicted MFU lies more than 15 points from that of the nearest run."""
        return calibration.is_far(self.prediction, self.nearest_run)

    @property
    def flags(self) -> str:
        """The command-line flags that choose this plan."""
        flags = [
            mesh_flags(self.shape) or "one device",
            f"--micro-batches={self.experiment.num_micro_batches}",
            f"--execution.remat={self.experiment.execution.remat}",
        ]
        if self.in_flight > 1:
            flags.insert(1, f"--mesh.pipeline-micro-batches={self.in_flight}")
        return " ".join(flags)

    @property
    def in_flight(self) -> int:
        """Micro-batches that follow each other through a pipeline; 1 without one."""
        return pipeline_micro_batches(self.experiment, self.shape)

    def workload(self) -> dict[str, Any]:
        """Return what a search varies, and the FLOPs of a step."""
        return {
            "micro_batches": self.experiment.num_micro_batches,
            "pipeline_micro_batches": self.in_flight,
            "remat": self.experiment.execution.remat,
            "attention": self.attention,
            "flops_per_step": self.flops_per_step,
        }

    def summary(self, name: str) -> dict[str, Any]:
        """Return the object that --json prints for the model `name`."""
        nearest = {"name": self.nearest_run.name, "mfu": self.nearest_run.mfu}
        prediction = dataclasses.asdict(self.prediction)
        prediction |= {"nearest_run": nearest, "is_far": self.is_far}
        return super().summary(name) | {"prediction": prediction}

    def speed(self) -> dict[str, float]:
        """Return the bounds of the roofline."""
        return dataclasses.asdict(self.roofline)


def on_accelerator(experiment: Experiment) -> Experiment:
    """Return the experiment, resolved as on a TPU or GPU."""
    resolved = experiment.execution.resolve(accelerated=True)
    return dataclasses.replace(experiment, execution=resolved)


def plan_training(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    effort: Effort = "estimate",
) -> TrainingPlan:
    """Plan one train step of a resolved experiment on a mesh of `shape`.

    Any effort but "estimate" needs a compiler; see `compilation.why_estimated`. A step that the
    compiler refuses is a plan, too, with the estimate's bytes. Raises ConfigError if the model or
    the batch does not divide over the mesh, or if the experiment names an attention kernel that
    cannot serve it.
    """
    decided, reason = choose_attention(experiment, shape, topology.chip.device_kind)
    plan = _plan_decided(decided, topology, shape, effort)
    attention = f"{decided.execution.attention}: {reason}"
    return dataclasses.replace(plan, experiment=experiment, attention=attention)


def _plan_decided(
    experiment: Experiment, topology: Topology, shape: dict[str, int], effort: Effort
) -> TrainingPlan:
    refusal = None
    if effort != "estimate":
        try:
            return _compiled_plan(experiment, topology, shape, quick=effort == "quick")
        except DoesNotFitError as error:
            refusal = str(error)
    collectives = roofline.expected_collectives(experiment, shape, topology.devices_per_island)
    num_bytes = memory.estimate_training(experiment, shape)
    plan = _plan(experiment, topology, shape, num_bytes, collectives)
    return dataclasses.replace(plan, refusal=refusal)


def _compiled_plan(
    experiment: Experiment, topology: Topology, shape: dict[str, int], *, quick: bool
) -> TrainingPlan:
    compiled = compilation.compile_step(experiment, topology, shape, quick=quick)
    params, optimizer = memory.state_bytes(experiment, shape)
    # Gradients live among the temporaries; the rest of those is activations and what XLA adds.
    gradients = min(params, compiled.temporary_bytes)
    num_bytes = TrainingBytes(
        params=params,
        gradients=gradients,
        optimizer=optimizer,
        temporaries=compiled.temporary_bytes - gradients,
        code=compiled.code_bytes,
    )
    plan = _plan(experiment, topology, shape, num_bytes, compiled.collectives)
    return dataclasses.replace(plan, compile_s=compiled.compile_s)


def _plan(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    num_bytes: TrainingBytes,
    collectives: list[Collective],
) -> TrainingPlan:
    state_bytes = num_bytes.params + num_bytes.optimizer
    return TrainingPlan(
        experiment=experiment,
        topology=topology,
        shape=shape,
        bytes=num_bytes,
        collectives=collectives,
        flops_per_step=roofline.flops_per_step(experiment),
        roofline=roofline.step_bounds(experiment, topology, shape, state_bytes, collectives),
        prediction=predict(experiment, topology, shape, state_bytes),
    )
