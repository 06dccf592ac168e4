"""A plan of serving: one decoded token for each of many sequences with full contexts."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from configs.experiment import Experiment
from models.config import check
from models.flops import forward_flops_per_token
from zoo.planning import compilation as ahead_of_time
from zoo.planning import memory
from zoo.planning.collectives import Collective
from zoo.planning.compilation import DoesNotFitError
from zoo.planning.hardware import Topology


@dataclass(frozen=True, kw_only=True)
class ServingBytes:
    """What one device holds while it decodes."""

    weights: int
    kv_cache: int
    temporaries: int = 0
    """Known only once it is compiled, as the program itself."""
    code: int = 0

    @property
    def total(self) -> int:
        """All of it at once."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """One decode step on one mesh."""

    topology: Topology
    shape: dict[str, int]
    batch_size: int
    context_length: int
    source: Literal["compiled", "estimated"]
    bytes: ServingBytes
    fits: bool
    refusal: str | None
    """What the compiler said when it found too little memory; the bytes are then the estimate's."""
    collectives: list[Collective]
    compile_s: float | None
    step_s: float
    """At best: everything read and sent at the published peaks, all at once."""

    @property
    def tokens_per_s(self) -> float:
        """Of all sequences together, at most."""
        return self.batch_size / self.step_s

    def summary(self, name: str) -> dict[str, Any]:
        """What --json prints."""
        return {
            "model": name,
            "topology": self.topology.name,
            "num_slices": self.topology.num_slices,
            "num_devices": self.topology.num_devices,
            "mesh": self.shape,
            "decode_batch": self.batch_size,
            "source": self.source,
            "bytes_per_device": dataclasses.asdict(self.bytes) | {"total": self.bytes.total},
            "hbm_bytes": round(self.topology.chip.hbm_bytes),
            "fits": self.fits,
            "refusal": self.refusal,
            "collectives": [dataclasses.asdict(each) for each in self.collectives],
            "compile_s": self.compile_s,
            "estimate": {"step_s": self.step_s, "tokens_per_s": self.tokens_per_s},
        }


def plan(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    batch_size: int,
    *,
    compiles: bool,
) -> ServingPlan:
    """With libtpu, or estimated; a step that does not fit is a plan too, with the estimate's bytes."""
    check(shape["pipeline"] == shape["sequence"] == 1,
          "--decode: decoding runs on the axes data, fsdp and tensor; leave --mesh.pipeline and "
          "--mesh.sequence out")  # fmt: skip
    ways = shape["data"] * shape["fsdp"]
    check(batch_size % ways == 0,
          f"--decode-batch={batch_size} does not divide over mesh.data x mesh.fsdp = {ways} ways; "
          f"choose a multiple of {ways}")  # fmt: skip
    weights, cache = memory.serving_bytes(experiment, shape, batch_size)
    estimated = ServingBytes(weights=weights, kv_cache=cache)
    fits = estimated.total <= topology.chip.hbm_bytes
    found = ServingPlan(
        topology=topology,
        shape=shape,
        batch_size=batch_size,
        context_length=experiment.model.context_length,
        source="estimated",
        bytes=estimated,
        fits=fits,
        refusal=None,
        collectives=[],
        compile_s=None,
        step_s=_step_s(experiment, topology, shape, estimated, batch_size, sent_s=0.0),
    )
    if not compiles:
        return found
    try:
        compiled = ahead_of_time.compile_decode(experiment, topology, shape, batch_size)
    except DoesNotFitError as error:
        return dataclasses.replace(found, fits=False, refusal=str(error))
    measured = dataclasses.replace(
        estimated, temporaries=compiled.temporary_bytes, code=compiled.code_bytes
    )
    near = sum(each.bytes for each in compiled.collectives if not each.across_slices)
    far = sum(each.bytes for each in compiled.collectives if each.across_slices)
    chip = topology.chip
    sent_s = max(near / chip.link_bytes_per_s, far / chip.network_bytes_per_s)
    return dataclasses.replace(
        found,
        source="compiled",
        bytes=measured,
        fits=measured.total <= chip.hbm_bytes,
        collectives=compiled.collectives,
        compile_s=compiled.compile_s,
        step_s=_step_s(experiment, topology, shape, measured, batch_size, sent_s=sent_s),
    )


def _step_s(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    held: ServingBytes,
    batch_size: int,
    *,
    sent_s: float,
) -> float:
    chip, model = topology.chip, experiment.model
    # Weights that fsdp splits have to be gathered, and then read, for every token.
    read_s = (held.weights * shape["fsdp"] + held.kv_cache) / chip.hbm_bytes_per_s
    gathered_s = held.weights * (shape["fsdp"] - 1) / chip.link_bytes_per_s
    flops = forward_flops_per_token(model, model.context_length) * batch_size
    compute_s = flops / topology.num_devices / chip.flops_per_s
    return max(read_s, gathered_s, compute_s, sent_s)
