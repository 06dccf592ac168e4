"""The speed that a train step will probably reach, from coefficients fitted to published runs.

A step takes the time of its matrix products, of its attention, of the memory traffic between them,
and of the communication that they do not hide:

    t = FLOPs / (E P) + attention / (A E P) + bytes / M + exposed

P and M are the chip's published peaks, of FLOPs and of memory bandwidth; E and A are fitted. A
product of [m, k] by [k, n] moves 2 (m k + k n + m n) bytes besides its FLOPs: this makes small
products less efficient than large ones. A collective takes bytes / bandwidth + latency per hop. A
fitted share of that is never hidden, and the rest only as long as there are products to hide it.
The bubble of a pipeline is in the number of passes through the layers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from configs.experiment import Experiment
from models.flops import train_flops_palm
from models.parameters import num_up_matrices
from zoo.distribution.sharding import rows_per_pass
from zoo.planning.hardware import PlannableChip, Topology
from zoo.planning.speed.collectives import ring_bytes
from zoo.planning.speed.roofline import (
    expected_traffic,
    flops_per_step,
    neighbours,
    passes,
    repeated_share,
)

VALUE_BYTES = 2
"""Bytes of a bfloat16."""
HOP_S = {True: 1e-6, False: 3e-6}
"""Seconds of a message from one device to the next, on TPUs and on GPUs. Assumed, not fitted: no
published run here is small enough to depend on it."""
LINK_SHARE = 0.8
"""Share of the published bandwidth that collectives reach. Assumed: a fit cannot tell it from the
share that is exposed."""
RESIDUAL_PASSES = 20
"""Times that a layer writes or reads the residual stream between its products, as in the bound."""


@dataclass(frozen=True)
class Coefficients:
    """The numbers that are fitted to published runs."""

    tpu: float
    """Share of a TPU's peak that a large matrix product reaches."""
    a100: float
    """The same for an A100."""
    hopper: float
    """The same for an H100 and later GPUs, whose clocks fall under load."""
    attention: float
    """Speed of attention, relative to a large product, when all T keys of a query are counted."""
    exposed: float
    """Share of the communication that no computation hides."""

    def product(self, chip: PlannableChip) -> float:
        """Return the share of the chip's peak that a large matrix product reaches."""
        if chip.num_axes > 0:
            return self.tpu
        return self.a100 if chip.name.startswith("a100") else self.hopper


FITTED = Coefficients(tpu=0.820, a100=0.711, hopper=0.563, attention=0.746, exposed=0.426)
"""Fitted to the runs in published_runs.py by a test, which checks these numbers."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds of one step that each kind of work is predicted to take, and their sum."""

    products_s: float
    attention_s: float
    memory_s: float
    exposed_s: float
    """Communication that nothing hides."""
    step_s: float
    mfu: float


def predict(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    state_bytes: float,
    coefficients: Coefficients = FITTED,
) -> Prediction:
    """Predict a train step of a resolved experiment on a mesh of `shape`.

    Args:
      state_bytes: parameters and optimizer state of one device.
    """
    chip, c = topology.chip, coefficients
    peak = chip.flops_per_s * c.product(chip)
    num_passes, stages = passes(experiment, shape), shape["pipeline"]
    layers = experiment.model.num_layers // stages * num_passes
    repeated = repeated_share(experiment)
    flops = moved = 0.0
    for product in products(experiment, shape):
        times = (3 + (repeated if product.is_repeated else 0)) * product.count
        times *= layers if product.is_in_layer else num_passes / stages
        flops += times * 2 * product.rows * product.inner * product.columns
        moved += times * VALUE_BYTES * product.num_values
    tokens = _tokens(experiment, shape)
    width = experiment.model.d_model / shape["tensor"]
    moved += RESIDUAL_PASSES * VALUE_BYTES * tokens * width * layers * (3 + repeated) / 3
    attention = layers * (3 + repeated) / 3 * _attention_flops(experiment, shape)
    products_s, attention_s = flops / peak, attention / (peak * c.attention)
    memory_s = (moved + 3 * state_bytes) / chip.hbm_bytes_per_s
    sent_s = _sent_s(experiment, topology, shape)
    hidden_s = min(products_s + attention_s, (1 - c.exposed) * sent_s)
    exposed_s = sent_s - hidden_s
    step_s = products_s + attention_s + memory_s + exposed_s
    model_flops = flops_per_step(experiment) / topology.num_devices
    return Prediction(
        products_s=products_s,
        attention_s=attention_s,
        memory_s=memory_s,
        exposed_s=exposed_s,
        step_s=step_s,
        mfu=model_flops / chip.flops_per_s / step_s,
    )


@dataclass(frozen=True)
class Product:
    """One product of [rows, inner] by [inner, columns] on one device in the forward pass."""

    rows: float
    inner: float
    columns: float
    count: int = 1
    is_in_layer: bool = True
    is_repeated: bool = True

    @property
    def num_values(self) -> float:
        """Values of both factors and of the result."""
        return self.rows * self.inner + self.inner * self.columns + self.rows * self.columns


def products(experiment: Experiment, shape: dict[str, int]) -> Iterator[Product]:
    """Yield the products of one layer, and the one to the logits."""
    model, tensor, tokens = experiment.model, shape["tensor"], _tokens(experiment, shape)
    a, d_ff = model.attention, model.feed_forward.d_ff / tensor
    queries = a.num_heads * a.head_dim / tensor
    keys = max(1.0, a.num_kv_heads / tensor) * a.head_dim
    yield Product(tokens, model.d_model, queries + 2 * keys)
    yield Product(tokens, queries, model.d_model)
    yield Product(tokens, model.d_model, d_ff, count=num_up_matrices(model.feed_forward.kind))
    yield Product(tokens, d_ff, model.d_model)
    vocabulary = model.vocab_size / tensor
    yield Product(tokens, model.d_model, vocabulary, is_in_layer=False, is_repeated=False)


def _tokens(experiment: Experiment, shape: dict[str, int]) -> float:
    """Return the tokens of one device in one pass."""
    rows = rows_per_pass(experiment, shape) / (shape["data"] * shape["fsdp"])
    return rows * experiment.seq_len / shape["sequence"]


def _attention_flops(experiment: Experiment, shape: dict[str, int]) -> float:
    """Return 12 H Q T per token of one layer, windows considered, on one device in one pass."""
    model = experiment.model
    per_token = train_flops_palm(model, 0, experiment.seq_len) / model.num_layers
    return per_token * _tokens(experiment, shape) / shape["tensor"]


def _sent_s(experiment: Experiment, topology: Topology, shape: dict[str, int]) -> float:
    """Return the seconds that one device sends in a step, one collective after the other."""
    chip, seconds = topology.chip, 0.0
    near = neighbours(shape, topology.devices_per_island)
    for traffic in expected_traffic(experiment, shape):
        if traffic.num_devices == 1:
            continue
        bandwidth = _bandwidth(chip, traffic.num_devices, near[traffic.axis])
        sent = ring_bytes(traffic.kind, traffic.array_bytes, traffic.num_devices)
        # Along a torus there are two directions; NCCL has trees for short messages.
        size = traffic.num_devices
        hops = size / 2 if topology.is_tpu else math.log2(size)
        seconds += traffic.count * (sent / (LINK_SHARE * bandwidth) + HOP_S[topology.is_tpu] * hops)
    return seconds


def _bandwidth(chip: PlannableChip, num_devices: int, near: int) -> float:
    """Return the bytes per second that each device sends in a ring over the devices of an axis.

    A ring that leaves its island enters it again once: all its devices there share their networks.
    """
    if num_devices <= near:
        return chip.link_bytes_per_s
    return min(chip.link_bytes_per_s, chip.network_bytes_per_s * near)
