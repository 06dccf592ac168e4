"""The real train and decode steps, compiled for TPUs or GPUs that need not be present."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from configs.experiment import Experiment, Weights
from models.config import ConfigError, check
from models.transformer import Transformer
from zoo.common.errors import is_out_of_memory, out_of_memory_reason
from zoo.distribution.devices import expect_no_tpu
from zoo.inference.decode import DecodeState, Sampling, decode
from zoo.inference.layout import graphdef_by_layer, params_by_layer
from zoo.inference.weights import hold
from zoo.planning.decode_state import from_fields, shard_fields, to_fields
from zoo.planning.hardware import GPUS_PER_NODE, Topology
from zoo.planning.hardware.gpu_targets import target_config
from zoo.planning.speed.collectives import Collective, collectives
from zoo.training.program import Program

_QUICK: dict[str, Any] = (
    {"exec_time_optimization_effort": -1.0}
    if hasattr(jax.config, "jax_exec_time_optimization_effort")
    else {"optimization_level": "O1"}  # later versions of jax
)
"""Less optimisation. On two cores LLaMA-65B compiles in 8 s instead of 33 s, and PaLM-540B in 21 s
instead of 65 s. They report 36.2 instead of 36.7 and 13.3 instead of 10.4 GiB per device, which is
near enough to tell what fits with a tenth to spare."""


class DoesNotFitError(Exception):
    """The compiler's error for a program that needs more memory than the device has."""


@dataclass(frozen=True)
class Compiled:
    """The compiler's figures for one program; bytes are per device."""

    argument_bytes: int
    temporary_bytes: int
    code_bytes: int
    collectives: list[Collective]
    compile_s: float


def can_compile() -> bool:
    """Return whether libtpu is installed."""
    return importlib.util.find_spec("libtpu") is not None


def has_cuda_wheels() -> bool:
    """Return whether jax has its plugin for CUDA, with which it brings NVIDIA's compilers."""
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin")
    return any(importlib.util.find_spec(name) is not None for name in plugins)


def why_estimated(topology: Topology) -> str | None:
    """Return why a plan for these devices cannot be compiled here, and the remedy; None if it can.

    Compiling for GPUs was tried with jax 0.12, which needs Python 3.12; it takes no GPU.
    """
    if topology.is_tpu:
        if can_compile():
            return None
        return 'libtpu is missing; to compile instead of estimating: pip install "gpt-zoo[tpu]"'
    if has_cuda_wheels() and jax.__version_info__ >= (0, 12):
        return None
    problem = f"jax is {jax.__version__}" if has_cuda_wheels() else "the CUDA wheels are missing"
    return (
        f"{problem}; to compile instead of estimating, which takes no GPU: pip install "
        '"gpt-zoo[gpu]" (5 GB) with Python 3.12 or later and jax 0.12 or later'
    )


def compile_step(
    experiment: Experiment, topology: Topology, shape: dict[str, int], *, quick: bool = False
) -> Compiled:
    """Compile the train step of zoo.train, with its shardings, for the devices of a topology.

    Raises DoesNotFitError with the compiler's numbers if a device has too little memory, and
    ConfigError if libtpu refuses the topology or GPUs are not whole nodes.

    Args:
      quick: spend less on optimising the program, which makes its bytes less exact.
    """
    mesh = _mesh(topology, shape)
    return _compile(lambda: lower(experiment, mesh), topology, quick=quick)


def compile_decode(
    experiment: Experiment,
    topology: Topology,
    shape: dict[str, int],
    batch_size: int,
    *,
    weights: Weights = "run",
    quick: bool = False,
) -> Compiled:
    """Compile the step of zoo.sample that decodes one token for each of `batch_size` sequences.

    The cache is as long as the model's context. Raises as `compile_step` does.
    """
    mesh = _mesh(topology, shape)
    return _compile(
        lambda: lower_decode(experiment, mesh, batch_size, weights), topology, quick=quick
    )


def lower(experiment: Experiment, mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
    """Trace the train step of zoo.train for a mesh whose devices need not be present."""
    program = Program(experiment, mesh)
    with program.entered():
        return program.train_step.lower(program.state, program.batch)


def lower_decode(
    experiment: Experiment, mesh: jax.sharding.Mesh, batch_size: int, weights: Weights = "run"
) -> jax.stages.Lowered:
    """Trace the decoding of one token for a mesh whose devices need not be present."""
    model, execution = experiment.model, experiment.execution
    batch_tokens = batch_size * experiment.seq_len
    experiment = dataclasses.replace(
        experiment, batch_tokens=batch_tokens, batch_ramp=None, micro_batches=1
    )
    program = Program(experiment, mesh)
    graphdef = graphdef_by_layer(model, execution)

    def empty_state(params: nnx.State) -> dict[str, Any]:
        transformer: Transformer = nnx.merge(graphdef, params)
        cache = transformer.empty_cache(batch_size, model.context_length)
        cache = dataclasses.replace(cache, length=jnp.zeros((), jnp.int32))
        token = jnp.zeros(batch_size, jnp.int32)
        return to_fields(DecodeState(cache, token, token, jax.random.key(0)))

    def next_token(params: nnx.State, allowed: jax.Array, fields: dict[str, Any]):
        state = from_fields(DecodeState, fields)
        state, tokens = decode(graphdef, params, allowed, state, sampling=Sampling(), num_tokens=1)
        return to_fields(state), tokens

    with program.entered():
        params = params_by_layer(hold(program.params, weights, model, program), execution)
        fields = jax.eval_shape(empty_state, params)
        state = shard_fields(DecodeState, fields, mesh, program.rules)
        rows = state["token"].sharding.spec
        allowed = jax.ShapeDtypeStruct(
            (batch_size, model.vocab_size),
            jnp.bool_,
            sharding=NamedSharding(mesh, PartitionSpec(*rows, None)),
        )
        return jax.jit(next_token, donate_argnums=2).lower(params, allowed, state)


def _compile(
    lower_program: Callable[[], jax.stages.Lowered], topology: Topology, *, quick: bool
) -> Compiled:
    start_s = time.monotonic()
    try:
        executable = lower_program().compile(_QUICK if quick and topology.is_tpu else {})
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if quick and "memory space sflag" in str(error):  # semaphores, which more effort saves
            return _compile(lower_program, topology, quick=False)
        raise DoesNotFitError(out_of_memory_reason(error)) from error
    compile_s = time.monotonic() - start_s
    memory, program = executable.memory_analysis(), executable.as_text()
    assert memory is not None and program is not None
    return Compiled(
        memory.argument_size_in_bytes,
        _temporary_bytes(memory, topology),
        memory.generated_code_size_in_bytes,
        collectives(program, topology.devices_per_island),
        compile_s,
    )


def _temporary_bytes(memory: Any, topology: Topology) -> int:
    """Return the bytes that the program holds at most, besides its arguments and its results."""
    if not topology.is_tpu:
        return memory.temp_size_in_bytes
    # That of libtpu counts some buffers twice. The compiler's own assignment of buffers has 3.05 GB
    # for LLaMA-7B's step, where it says 4.60. From the peak it is 3.02; small models are up to a
    # tenth below.
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.peak_memory_in_bytes - memory.argument_size_in_bytes - results


def _mesh(topology: Topology, shape: dict[str, int]) -> jax.sharding.Mesh:
    description = _tpus(topology) if topology.is_tpu else _gpus(topology)
    devices = np.array(description.devices).reshape(tuple(shape.values()))
    return jax.sharding.Mesh(devices, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def _tpus(topology: Topology) -> topologies.TopologyDescription:
    expect_no_tpu()
    options: dict[str, int | str] = {}
    if topology.num_slices > 1:
        options["num_slices"] = topology.num_slices
    if topology.chip.device_kind == "TPU v4":
        options["chip_config_name"] = "megacore"  # both cores of a chip as one device
    try:
        return topologies.get_topology_desc(topology.name, "tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        message = f"--topology={topology.name!r} is refused by libtpu: {reason}"
        raise ConfigError(message) from error


def _gpus(topology: Topology) -> topologies.TopologyDescription:
    """Describe whole nodes, or a part of one."""
    num_gpus, per_node = topology.num_devices, min(topology.num_devices, GPUS_PER_NODE)
    check(
        num_gpus % per_node == 0,
        f"--topology={topology.name} is not whole nodes of {per_node} GPUs; write a multiple, or "
        "--effort=estimate",
    )
    return topologies.get_topology_desc(
        platform="cuda",
        target_config=target_config(topology.chip),
        topology=f"1x{num_gpus // per_node}x{per_node}",
    )
