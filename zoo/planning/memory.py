"""Memory per device of a train step or of serving, without compiling anything.

Parameters, gradients and optimizer state are exact: they have the program's shapes and shardings.
Temporaries are estimated from what the backward pass keeps.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import assert_never

import jax
from jax.sharding import AbstractMesh

from configs.experiment import Experiment, ParamDtype, Weights
from configs.parts.optimizers import Optimizer
from models.attention.blocks import block_size
from models.config import ModelConfig
from models.flops import kv_cache_bytes_per_token
from models.model import num_params
from models.parameters import num_up_matrices
from zoo.distribution.sharding import (
    Rules,
    pipeline_micro_batches,
    rows_per_pass,
    rules_for,
    state_shardings,
)
from zoo.training.loss import CHUNK_BYTES
from zoo.training.program import abstract_state

PARAM_BYTES: dict[ParamDtype, int] = {"float32": 4, "bfloat16": 2}
"""Bytes of one stored parameter."""


@dataclass(frozen=True, kw_only=True)
class DeviceBytes:
    """The memory of one device, by what it holds."""

    @property
    def total(self) -> int:
        """All of it together."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Return the bytes by what they hold."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class TrainingBytes(DeviceBytes):
    """The memory of one device during a train step."""

    params: int
    gradients: int
    optimizer: int
    temporaries: int
    """Activations kept for the backward pass, gathered weights, logits, and everything else."""
    code: int = 0
    """The program; 0 until it is compiled."""


@dataclass(frozen=True, kw_only=True)
class ServingBytes(DeviceBytes):
    """The memory of one device while it decodes."""

    weights: int
    kv_cache: int
    temporaries: int = 0
    """0 until the program is compiled."""
    code: int = 0
    """The program; 0 until it is compiled."""


def estimate_training(experiment: Experiment, shape: dict[str, int]) -> TrainingBytes:
    """Estimate the memory of a train step on a mesh with `shape[axis]` devices along every axis.

    Raises ConfigError if the model or the batch does not divide over the mesh.
    """
    params, optimizer = state_bytes(experiment, shape)
    return TrainingBytes(
        params=params,
        gradients=params,
        optimizer=optimizer,
        temporaries=_temporaries(experiment, shape, params),
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationBytes(DeviceBytes):
    """The memory of one device while it evaluates."""

    weights: int
    temporaries: int
    """Activations of one layer, its gathered weights, and logits."""


def estimate_evaluation(
    experiment: Experiment, shape: dict[str, int], weights: Weights = "run"
) -> EvaluationBytes:
    """Estimate the memory of a forward pass with its loss; int8 weights come beside the run's.

    Raises ConfigError as `estimate_training` does.
    """
    params, _ = state_bytes(experiment, shape)
    model, tensor = experiment.model, shape["tensor"]
    value_bytes = 4 if experiment.execution.dtype == "float32" else 2
    rows = rows_per_pass(experiment, shape) / (shape["data"] * shape["fsdp"])
    tokens = rows * experiment.seq_len / shape["sequence"]
    activations = tokens * (_product_width(model) / tensor + 4 * model.d_model) * value_bytes
    gathered = (_layer_params(model) * value_bytes + 4 * model.vocab_size * model.d_model) / tensor
    in_int8 = 0 if weights == "run" else params // PARAM_BYTES[experiment.param_dtype]
    temporaries = activations + gathered + _scores(experiment, shape, rows) + CHUNK_BYTES
    return EvaluationBytes(weights=params + in_int8, temporaries=round(temporaries))


def estimate_serving(
    experiment: Experiment, shape: dict[str, int], batch_size: int, weights: Weights = "run"
) -> ServingBytes:
    """Return the bytes of the weights, and those of the KV cache of `batch_size` full contexts.

    A single KV head is copied to every device along `tensor`. Raises ConfigError as
    `estimate_training` does.
    """
    model = experiment.model
    value_bytes = 4 if experiment.execution.dtype == "float32" else 2
    params, _ = state_bytes(experiment, shape)
    kv_head_ways = 1 if model.attention.num_kv_heads == 1 else shape["tensor"]
    ways = shape["data"] * shape["fsdp"] * kv_head_ways
    per_token = kv_cache_bytes_per_token(model, model.context_length, value_bytes)
    # Scales, vectors and learned positions, a hundredth of the parameters, count as one byte too.
    weight_bytes = 1 if weights == "int8" else value_bytes
    return ServingBytes(
        weights=params // PARAM_BYTES[experiment.param_dtype] * weight_bytes,
        kv_cache=round(per_token * model.context_length * batch_size / ways),
    )


def state_bytes(experiment: Experiment, shape: dict[str, int]) -> tuple[int, int]:
    """Return the exact bytes of the parameters and of the optimizer state on one device."""
    mesh = AbstractMesh(tuple(shape.values()), tuple(shape))
    rules = rules_for(experiment, mesh)
    return _state_bytes(experiment.model, experiment.optimizer, experiment.param_dtype, mesh, rules)


@functools.cache
def _state_bytes(
    model: ModelConfig,
    optimizer: Optimizer,
    param_dtype: ParamDtype,
    mesh: AbstractMesh,
    rules: Rules,
) -> tuple[int, int]:
    state = abstract_state(model, optimizer, param_dtype)
    shardings = state_shardings(state, mesh, rules)

    def shard_bytes(arrays, shardings) -> int:
        leaves = zip(jax.tree.leaves(arrays), jax.tree.leaves(shardings), strict=True)
        return sum(
            math.prod(sharding.shard_shape(array.shape)) * array.dtype.itemsize
            for array, sharding in leaves
        )

    return (
        shard_bytes(state.params, shardings.params),
        shard_bytes((state.step, state.opt_state), (shardings.step, shardings.opt_state)),
    )


def _temporaries(experiment: Experiment, shape: dict[str, int], params_bytes: int) -> int:
    """Estimate the temporaries.

    What a layer keeps is counted. The coefficients of what is at work are fitted to the compiled
    rows of docs/plans.md, TPUs and GPUs, of which all but three are within a fifth (10 % in the
    root mean square, 31 % at most).
    """
    model, tensor, stages = experiment.model, shape["tensor"], shape["pipeline"]
    rows = rows_per_pass(experiment, shape) / (shape["data"] * shape["fsdp"])
    tokens = rows * experiment.seq_len / shape["sequence"]
    value_bytes = 4 if experiment.execution.dtype == "float32" else 2
    residual = tokens * model.d_model * value_bytes / tensor
    products = tokens * _product_width(model) * value_bytes / tensor
    match experiment.execution.remat:
        case "none":
            kept = 4 * residual + 3.5 * products
        case "dots":
            kept = residual + products
        case "narrow":
            kept = residual + products - tokens * _up_width(model) * value_bytes / tensor
        case "full":
            kept = residual
        case _:
            assert_never(experiment.execution.remat)
    # A stage of a pipeline keeps what it needs of every tick until the backward pass.
    ticks = pipeline_micro_batches(experiment, shape) + stages - 1
    # One layer's backward pass is at work: its gathered weights and their gradients, its products,
    # a block of scores, and what has the width of the residual stream, whole.
    working = 0.85 * value_bytes * _layer_params(model) / tensor
    working += 1.35 * products + 0.85 * _scores(experiment, shape, rows) + 5.4 * residual * tensor
    # At another time the table of the logits is gathered, with its gradient.
    vocabulary = 3.7 * model.vocab_size * model.d_model / (tensor * stages)
    # Gradients are added up in float32.
    accumulated = params_bytes // PARAM_BYTES[experiment.param_dtype] * 4
    accumulated = accumulated if experiment.num_micro_batches > 1 else 0
    total = model.num_layers / stages * kept * ticks + working + vocabulary + accumulated
    logits = min(CHUNK_BYTES, 4 * tokens * model.vocab_size / tensor)
    return round(total + 0.9 * logits)


def _scores(experiment: Experiment, shape: dict[str, int], rows: float) -> float:
    """Estimate the bytes of the scores of a block of queries, their weights and their gradient."""
    if experiment.execution.attention not in ("auto", "xla"):
        return 0.0  # they never leave the kernel
    num_keys = experiment.seq_len // shape["sequence"]
    num_queries = min(num_keys, block_size(num_keys, window=None))
    num_heads = experiment.model.attention.num_heads / shape["tensor"]
    return rows * num_queries * num_keys * num_heads * 3 * 4


def _product_width(model: ModelConfig) -> int:
    """Return the width of all products of one layer, those to the residual stream left out."""
    a = model.attention
    heads = 2 * a.num_heads + 2 * a.num_kv_heads
    return heads * a.head_dim + _up_width(model)


def _up_width(model: ModelConfig) -> int:
    """Return the width of the up projections of one feed-forward layer."""
    return num_up_matrices(model.feed_forward.kind) * model.feed_forward.d_ff


def _layer_params(model: ModelConfig) -> int:
    """Return the number of parameters of a model with one layer, without its embedding."""
    attention = dataclasses.replace(model.attention, windows=(None,))
    one = dataclasses.replace(model, num_layers=1, attention=attention)
    return num_params(one) - model.vocab_size * model.d_model
