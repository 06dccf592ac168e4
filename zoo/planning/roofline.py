"""How fast a step could be at best: an estimate from published peaks, not a measurement."""

from dataclasses import dataclass

from configs.experiment import Experiment
from models.flops import train_flops_palm
from models.transformer import num_params
from zoo.planning.collectives import Collective
from zoo.planning.hardware import Topology


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Seconds that each resource is busy in one step; perfect overlap makes the longest the step."""

    compute_s: float
    memory_s: float
    links_s: float
    network_s: float
    step_s: float
    mfu: float


def flops_per_step(experiment: Experiment) -> float:
    """Model FLOPs by PaLM's convention, rematerialisation not counted."""
    size = num_params(experiment.model)
    per_token = train_flops_palm(experiment.model, size, experiment.seq_len)
    return per_token * experiment.batch_tokens


def estimate(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    state_bytes: int,
    sent: list[Collective],
) -> Roofline:
    """`state_bytes`: parameters and optimizer state of a device; `sent`: what it sends in a step."""
    chip, model = topology.chip, experiment.model
    flops = flops_per_step(experiment)
    done = flops * (4 / 3 if experiment.execution.remat == "full" else 1)
    num_passes, stages = passes(experiment, shape), shape["pipeline"]
    idle = num_passes / experiment.micro_batches  # more than 1 by the bubble of a pipeline
    compute_s = idle * done / topology.num_devices / chip.flops_per_s
    tokens = experiment.batch_tokens / (shape["data"] * shape["fsdp"] * shape["sequence"])
    # Gathered bfloat16 weights are read forward, recomputed and twice backward, in every micro-batch;
    # activations are written and read about twenty times a layer; the optimizer reads and writes.
    weights = 4 * 2 * num_params(model) / (shape["tensor"] * stages) * num_passes
    activations = (
        idle * 20 * 2 * tokens * model.num_layers / stages * model.d_model / shape["tensor"]
    )
    memory_s = (weights + activations + 3 * state_bytes) / chip.hbm_bytes_per_s
    links_s = sum(c.bytes for c in sent if not c.across_slices) / chip.link_bytes_per_s
    network_s = sum(c.bytes for c in sent if c.across_slices) / chip.network_bytes_per_s
    step_s = max(compute_s, memory_s, links_s, network_s)
    return Roofline(
        compute_s=compute_s,
        memory_s=memory_s,
        links_s=links_s,
        network_s=network_s,
        step_s=step_s,
        mfu=flops / topology.num_devices / chip.flops_per_s / step_s,
    )


def passes(experiment: Experiment, shape: dict[str, int]) -> int:
    """How often a device goes through its layers in one step: once a micro-batch, and in a pipeline of P
    stages P - 1 times more."""
    return experiment.micro_batches + shape["pipeline"] - 1


def expected_collectives(
    experiment: Experiment, shape: dict[str, int], devices_per_island: int
) -> list[Collective]:
    """What ZeRO, Megatron's split, a split length and a pipeline send, where there is no compiled program
    to read it off.

    Weights are gathered along fsdp for every pass and their gradients scattered; gradients of copies
    are summed along data and sequence; sub-blocks gather and scatter the residual stream along tensor,
    and keys and values along sequence; stages hand on the residual stream.
    """
    model, tensor, fsdp, stages = (
        experiment.model,
        shape["tensor"],
        shape["fsdp"],
        shape["pipeline"],
    )
    sequence, copies = shape["sequence"], shape["data"] * shape["sequence"]
    layers, num_passes = model.num_layers // stages, passes(experiment, shape)
    thrice = 3 if experiment.execution.remat == "full" else 2
    size = num_params(model) / (tensor * stages)
    rows = experiment.batch_size / experiment.micro_batches / (shape["data"] * fsdp)
    tokens = rows * experiment.seq_len / sequence  # of one pass
    blocks = layers * (1 if model.layout == "parallel" else 2)
    residual = 2 * tokens * model.d_model * (tensor - 1) / tensor
    kv_heads = model.attention.num_kv_heads
    kept_heads = kv_heads if kv_heads == 1 else kv_heads / tensor
    keys = 2 * 2 * tokens * kept_heads * model.attention.head_dim * (sequence - 1)
    reach = {}
    neighbours = 1
    for axis in reversed(shape):  # the last axis is the nearest
        neighbours *= shape[axis]
        reach[axis] = neighbours > devices_per_island
    expected = [
        ("all-gather", "fsdp", fsdp, thrice * num_passes * layers,
         thrice * num_passes * 2 * size * (fsdp - 1) / fsdp),
        ("reduce-scatter", "fsdp", fsdp, num_passes * layers,
         num_passes * 4 * size * (fsdp - 1) / fsdp),
        ("all-reduce", "data", copies, layers, 2 * 4 * size / fsdp * (copies - 1) / copies),
        ("all-gather", "tensor", tensor, 3 * blocks * num_passes, 3 * blocks * num_passes * residual),
        ("reduce-scatter", "tensor", tensor, 3 * blocks * num_passes,
         3 * blocks * num_passes * residual),
        ("all-gather", "sequence", sequence, thrice * layers * num_passes,
         thrice * layers * num_passes * keys),
        ("collective-permute", "pipeline", stages, 2 * num_passes,
         2 * num_passes * 2 * tokens * model.d_model),
    ]  # fmt: skip
    return [
        Collective(kind, reach[axis], count, round(sent))
        for kind, axis, n, count, sent in expected
        if n > 1
    ]
