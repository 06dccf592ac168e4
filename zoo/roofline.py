"""How fast a step could be at best: an estimate from published peaks, not a measurement."""

from dataclasses import dataclass

from models.transformer import num_params
from zoo.collectives import Collective
from zoo.config import Experiment
from zoo.flops import train_flops_palm
from zoo.topology import Topology


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
    compute_s = done / topology.num_devices / chip.flops_per_s
    tokens = experiment.batch_tokens / (shape["data"] * shape["fsdp"])
    # Gathered bfloat16 weights are read forward, recomputed and twice backward, in every micro-batch;
    # activations are written and read about twenty times a layer; the optimizer reads and writes.
    weights = 4 * 2 * num_params(model) / shape["tensor"] * experiment.micro_batches
    activations = 20 * 2 * tokens * model.num_layers * model.d_model / shape["tensor"]
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


def expected_collectives(
    experiment: Experiment, shape: dict[str, int], devices_per_island: int
) -> list[Collective]:
    """What ZeRO and Megatron's split send, where there is no compiled program to read it off.

    Weights are gathered along fsdp for every pass and their gradients scattered; gradients of copies
    are summed along data; sub-blocks gather and scatter the residual stream along tensor.
    """
    model, tensor, fsdp, data = experiment.model, shape["tensor"], shape["fsdp"], shape["data"]
    size = num_params(model) / tensor
    passes = (3 if experiment.execution.remat == "full" else 2) * experiment.micro_batches
    tokens = experiment.batch_tokens / (data * fsdp)
    blocks = model.num_layers * (1 if model.layout == "parallel" else 2)
    residual = 2 * tokens * model.d_model * (tensor - 1) / tensor
    far = {
        "data": tensor * fsdp * data > devices_per_island,
        "fsdp": tensor * fsdp > devices_per_island,
        "tensor": tensor > devices_per_island,
    }
    micro = experiment.micro_batches
    expected = [
        ("all-gather", "fsdp", fsdp, passes * model.num_layers, passes * 2 * size),
        ("reduce-scatter", "fsdp", fsdp, micro * model.num_layers, micro * 4 * size),
        ("all-reduce", "data", data, model.num_layers, 2 * 4 * size / fsdp),
        ("all-gather", "tensor", tensor, 3 * blocks * micro, 3 * blocks * residual),
        ("reduce-scatter", "tensor", tensor, 3 * blocks * micro, 3 * blocks * residual),
    ]
    return [
        Collective(kind, far[axis], count, round(sent * (1 if axis == "tensor" else (n - 1) / n)))
        for kind, axis, n, count, sent in expected
        if n > 1
    ]
