"""Compile the real train step for TPUs that are not there."""

import dataclasses
import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType

from models.config import ConfigError
from zoo import sharding
from zoo.collectives import Collective, collectives
from zoo.config import Experiment, Mesh
from zoo.devices import expect_no_tpu
from zoo.errors import is_out_of_memory, out_of_memory_reason
from zoo.memory import Bytes, state_bytes
from zoo.step import make_steps
from zoo.topology import Topology

_QUICK: dict[str, Any] = {"exec_time_optimization_effort": -1.0}
"""On two cores: LLaMA-65B in 8 s for 33 and PaLM-540B in 21 s for 65, with 36.2 GiB for 36.7 and 13.3
for 10.4 a device: of the same kind, so that it can tell what fits with a tenth to spare."""


class DoesNotFitError(Exception):
    """The compiler found more bytes than the device has."""


@dataclass(frozen=True)
class Compiled:
    """What the compiler said of one train step."""

    bytes: Bytes
    collectives: list[Collective]
    compile_s: float


def can_compile() -> bool:
    """Whether libtpu is installed."""
    return importlib.util.find_spec("libtpu") is not None


def compile_step(
    experiment: Experiment, topology: Topology, shape: dict[str, int], *, quick: bool = False
) -> Compiled:
    """The train step of zoo.train, with its shardings, for the devices of a topology. `quick` spends
    less on optimising the program, and so tells its bytes less exactly.

    Raises DoesNotFitError with the compiler's numbers, and ConfigError for a topology that libtpu
    refuses.
    """
    experiment = dataclasses.replace(experiment, mesh=dataclasses.replace(Mesh(), **shape))
    mesh = _mesh(topology, shape)
    began = time.monotonic()
    lowered = lower(experiment, mesh)
    try:
        compiled = lowered.compile(_QUICK if quick else {})
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DoesNotFitError(out_of_memory_reason(error)) from error
    compile_s = time.monotonic() - began
    found, program = compiled.memory_analysis(), compiled.as_text()
    assert found is not None and program is not None
    params, optimizer = state_bytes(experiment, shape)
    # Gradients live among the temporaries; the rest of those is activations and what XLA adds.
    gradients = min(params, found.temp_size_in_bytes)
    return Compiled(
        Bytes(
            params=params,
            gradients=gradients,
            optimizer=optimizer,
            temporaries=found.temp_size_in_bytes - gradients,
            code=found.generated_code_size_in_bytes,
        ),
        collectives(program, topology.devices_per_island),
        compile_s,
    )


def lower(experiment: Experiment, mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
    """The train step of zoo.train, traced for a mesh whose devices need not be there."""
    rules = sharding.rules_for(experiment, mesh)
    steps = make_steps(experiment, mesh)
    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        abstract = jax.eval_shape(steps.init)
        shardings = sharding.state_shardings(abstract, mesh, rules)
        state = sharding.with_shardings(abstract, shardings)
        step = jax.jit(steps.train_step, donate_argnums=0, out_shardings=(shardings, None))
        return step.lower(state, _abstract_batch(experiment, mesh))


def _mesh(topology: Topology, shape: dict[str, int]) -> jax.sharding.Mesh:
    expect_no_tpu()
    options: dict[str, int | str] = {}
    if topology.num_slices > 1:
        options["num_slices"] = topology.num_slices
    if topology.chip.device_kind == "TPU v4":
        options["chip_config_name"] = "megacore"  # both cores of a chip as one device
    try:
        description = topologies.get_topology_desc(topology.name, "tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--topology={topology.name!r} is refused by libtpu: {reason}") from error
    devices = np.array(description.devices).reshape(tuple(shape.values()))
    return jax.sharding.Mesh(devices, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def _abstract_batch(experiment: Experiment, mesh: jax.sharding.Mesh) -> dict:
    shape, rows = (experiment.batch_size, experiment.seq_len), sharding.batch_sharding(mesh)

    def array(dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=rows)

    numbers = ("inputs", "targets", "positions", "segment_ids")
    return {name: array(jnp.int32) for name in numbers} | {"weights": array(jnp.float32)}
