"""Bounds on the speed of a train step: estimates from published peaks, not measurements."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from configs.experiment import Experiment
from models.flops import train_flops_palm
from models.model import num_params
from models.parameters import num_up_matrices
from zoo.distribution.sharding import pipeline_micro_batches, rows_per_pass
from zoo.planning.hardware import PlannableChip, Topology
from zoo.planning.speed.collectives import Collective, ring_bytes


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Seconds per step that each resource is busy; with perfect overlap the longest is the step."""

    compute_s: float
    memory_s: float
    links_s: float
    network_s: float
    step_s: float
    mfu: float


@dataclass(frozen=True)
class Traffic:
    """Collectives of one kind along one axis of the mesh, as many as one step has."""

    kind: str
    axis: str
    num_devices: int
    """Devices that take part in each of them."""
    count: int
    array_bytes: float
    """Bytes of the whole array that each of them gathers, scatters, sums or passes on."""


def flops_per_step(experiment: Experiment) -> float:
    """Return model FLOPs by PaLM's convention, which does not count rematerialisation."""
    size = num_params(experiment.model)
    per_token = train_flops_palm(experiment.model, size, experiment.seq_len)
    return per_token * experiment.batch_tokens


def step_bounds(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    state_bytes: int,
    collectives: Iterable[Collective],
) -> Roofline:
    """Return the bounds of a train step on a mesh of `shape`.

    Args:
      state_bytes: parameters and optimizer state of one device.
      collectives: everything that one device sends in a step.
    """
    chip, model = topology.chip, experiment.model
    model_flops = flops_per_step(experiment)
    hardware_flops = model_flops * (1 + repeated_share(experiment) / 3)
    num_passes, stages = passes(experiment, shape), shape["pipeline"]
    num_micro_batches = experiment.num_micro_batches * pipeline_micro_batches(experiment, shape)
    slowdown = num_passes / num_micro_batches  # above 1 by the bubble of a pipeline
    compute_s = slowdown * hardware_flops / topology.num_devices / chip.flops_per_s
    tokens = experiment.batch_tokens / (shape["data"] * shape["fsdp"] * shape["sequence"])
    # Gathered bfloat16 weights are read forward, recomputed and twice backward, in every
    # micro-batch; activations are written and read about twenty times per layer; the optimizer
    # reads and writes.
    weights = 4 * 2 * num_params(model) / (shape["tensor"] * stages) * num_passes
    activations = (
        slowdown * 20 * 2 * tokens * model.num_layers / stages * model.d_model / shape["tensor"]
    )
    memory_s = (weights + activations + 3 * state_bytes) / chip.hbm_bytes_per_s
    links_s, network_s = communication_s(collectives, chip)
    step_s = max(compute_s, memory_s, links_s, network_s)
    return Roofline(
        compute_s=compute_s,
        memory_s=memory_s,
        links_s=links_s,
        network_s=network_s,
        step_s=step_s,
        mfu=model_flops / topology.num_devices / chip.flops_per_s / step_s,
    )


def communication_s(collectives: Iterable[Collective], chip: PlannableChip) -> tuple[float, float]:
    """Return the seconds that the links within a slice or node, and the network, are busy."""
    links, network = 0, 0
    for collective in collectives:
        links += collective.bytes - collective.network_bytes
        network += collective.network_bytes
    return links / chip.link_bytes_per_s, network / chip.network_bytes_per_s


def passes(experiment: Experiment, shape: dict[str, int]) -> int:
    """Return how often a device goes through its layers in one step.

    Once per micro-batch, and in a pipeline of P stages P - 1 times more per accumulated slice.
    """
    in_flight = pipeline_micro_batches(experiment, shape)
    return experiment.num_micro_batches * (in_flight + shape["pipeline"] - 1)


def expected_collectives(
    experiment: Experiment, shape: dict[str, int], devices_per_island: int
) -> list[Collective]:
    """Estimate what each device sends in a step if there is no compiled program to read.

    ZeRO gathers weights along fsdp for every pass and scatters their gradients. Gradients of copies
    are summed along data and sequence. Megatron's sub-blocks gather and scatter the residual stream
    along tensor. Keys and values go round the sequence axis. The stages of a pipeline pass the
    residual stream on.
    """
    near = neighbours(shape, devices_per_island)
    sent = []
    for traffic in expected_traffic(experiment, shape):
        size = traffic.num_devices
        if size == 1:
            continue
        is_across = near[traffic.axis] < size
        ring = traffic.count * ring_bytes(traffic.kind, traffic.array_bytes, size)
        network = round(ring / near[traffic.axis]) if is_across else 0
        sent.append(Collective(traffic.kind, is_across, traffic.count, round(ring), network))
    return sent


def expected_traffic(experiment: Experiment, shape: dict[str, int]) -> list[Traffic]:
    """Return what a step sends along every axis; axes of one device are included."""
    model = experiment.model
    tensor, fsdp, stages = shape["tensor"], shape["fsdp"], shape["pipeline"]
    sequence, copies = shape["sequence"], shape["data"] * shape["sequence"]
    layers, num_passes = model.num_layers // stages, passes(experiment, shape)
    # For the forward and the backward pass, and for recomputing the forward pass.
    num_gathers = 2 + repeated_share(experiment)
    layer_params = num_params(model) / (tensor * stages) / layers
    rows = rows_per_pass(experiment, shape) / (shape["data"] * fsdp)
    tokens = rows * experiment.seq_len / sequence  # per device and pass
    residual_bytes = 2 * tokens * model.d_model
    num_kv_heads = model.attention.num_kv_heads
    local_kv_heads = num_kv_heads if num_kv_heads == 1 else num_kv_heads / tensor
    kv_bytes = 2 * 2 * tokens * local_kv_heads * model.attention.head_dim
    sub_blocks = layers * (1 if model.layout == "parallel" else 2)
    layer_passes, sub_block_passes = layers * num_passes, 3 * sub_blocks * num_passes
    # Keys and values go round the ring; in the backward pass with their gradients, in float32.
    turns = round((num_gathers - 1 + 3) * layer_passes * (sequence - 1))
    return [
        Traffic("all-gather", "fsdp", fsdp, round(num_gathers * layer_passes), 2 * layer_params),
        Traffic("reduce-scatter", "fsdp", fsdp, layer_passes, 4 * layer_params),
        Traffic("all-reduce", "data", copies, layers, 4 * layer_params / fsdp),
        Traffic("all-gather", "tensor", tensor, sub_block_passes, residual_bytes),
        Traffic("reduce-scatter", "tensor", tensor, sub_block_passes, residual_bytes),
        Traffic("collective-permute", "sequence", sequence, turns, kv_bytes),
        Traffic("collective-permute", "pipeline", stages, 2 * num_passes, residual_bytes),
    ]


def repeated_share(experiment: Experiment) -> float:
    """Return the share of the forward pass's products that the backward pass repeats."""
    model = experiment.model
    match experiment.execution.remat:
        case "none" | "dots":
            return 0.0
        case "narrow":
            ups = num_up_matrices(model.feed_forward.kind) * model.feed_forward.d_ff * model.d_model
            return model.num_layers * ups / num_params(model)
        case "full":
            return 1.0
        case _:
            assert_never(experiment.execution.remat)


def neighbours(shape: dict[str, int], devices_per_island: int) -> dict[str, int]:
    """Return for every axis how many devices of one of its groups lie on the same island.

    Gradients are summed along `data` and `sequence` at once: `data` stands for a group of both.
    """
    found, before = {}, 1
    for axis in reversed(shape):  # the devices along the last axis are the nearest
        found[axis] = max(1, min(shape[axis], devices_per_island // before))
        before *= shape[axis]
    found["data"] *= found["sequence"]
    return found
