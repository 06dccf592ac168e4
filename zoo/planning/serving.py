"""Plans of serving: one token decoded for each of many sequences with full contexts."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from configs.experiment import Experiment, Weights
from models.config import check
from models.flops import forward_flops_per_token
from zoo.planning import Effort, compilation, memory
from zoo.planning.compilation import DoesNotFitError
from zoo.planning.hardware import Topology
from zoo.planning.memory import ServingBytes
from zoo.planning.plan import Plan
from zoo.planning.speed import roofline


@dataclass(frozen=True, kw_only=True)
class ServingPlan(Plan):
    """One decode step on one mesh."""

    bytes: ServingBytes
    batch_size: int
    """Sequences decoded together."""
    context_length: int
    """Tokens that each of them has."""
    step_s: float
    """Seconds per step at best: reads, sends and products at the published peaks, all at once."""
    weights: Weights = "run"

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second at most, over all sequences."""
        return self.batch_size / self.step_s

    def workload(self) -> dict[str, Any]:
        """Return the number of sequences, and the form of the weights."""
        return {"decode_batch": self.batch_size, "weights": self.weights}

    def speed(self) -> dict[str, float]:
        """Return the bounds on a step and on all sequences together."""
        return {"step_s": self.step_s, "tokens_per_s": self.tokens_per_s}


def plan_serving(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    batch_size: int,
    effort: Effort = "estimate",
    weights: Weights = "run",
) -> ServingPlan:
    """Plan the decode step of a resolved experiment's model on a mesh of `shape`.

    Any effort but "estimate" needs a compiler; see `compilation.why_estimated`. A step that the
    compiler refuses is a plan, too, with the estimate's bytes. Raises ConfigError if the model or
    `batch_size` does not divide over the mesh, or if the mesh has a pipeline or sequence axis.
    """
    check(
        shape["pipeline"] == shape["sequence"] == 1,
        "--goal=decode uses the axes data, fsdp and tensor only; leave out --mesh.pipeline and "
        "--mesh.sequence",
    )
    ways = shape["data"] * shape["fsdp"]
    check(
        batch_size % ways == 0,
        f"--decode-batch={batch_size} does not divide over mesh.data x mesh.fsdp = {ways} ways; "
        f"choose a multiple of {ways}",
    )
    num_bytes = memory.estimate_serving(experiment, shape, batch_size, weights)
    plan = ServingPlan(
        topology=topology,
        shape=shape,
        batch_size=batch_size,
        weights=weights,
        context_length=experiment.model.context_length,
        bytes=num_bytes,
        collectives=[],
        step_s=_step_s(experiment, topology, shape, num_bytes, batch_size),
    )
    if effort == "estimate":
        return plan
    quick = effort == "quick"
    try:
        compiled = compilation.compile_decode(
            experiment, topology, shape, batch_size, weights=weights, quick=quick
        )
    except DoesNotFitError as error:
        return dataclasses.replace(plan, refusal=str(error))
    num_bytes = dataclasses.replace(
        num_bytes, temporaries=compiled.temporary_bytes, code=compiled.code_bytes
    )
    communication_s = max(roofline.communication_s(compiled.collectives, topology.chip))
    return dataclasses.replace(
        plan,
        bytes=num_bytes,
        collectives=compiled.collectives,
        compile_s=compiled.compile_s,
        step_s=max(plan.step_s, communication_s),
    )


def _step_s(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    num_bytes: ServingBytes,
    batch_size: int,
) -> float:
    chip, model = topology.chip, experiment.model
    # Weights sharded over fsdp are gathered, and then read, for every token.
    read_s = (num_bytes.weights * shape["fsdp"] + num_bytes.kv_cache) / chip.hbm_bytes_per_s
    gather_s = num_bytes.weights * (shape["fsdp"] - 1) / chip.link_bytes_per_s
    flops = forward_flops_per_token(model, model.context_length) * batch_size
    compute_s = flops / topology.num_devices / chip.flops_per_s
    return max(read_s, gather_s, compute_s)
