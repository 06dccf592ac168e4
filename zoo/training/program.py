"""One experiment on one mesh: everything that is jitted, and how every array is sharded."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from configs.experiment import Experiment, ParamDtype
from configs.parts.objectives import NextToken, Objective
from configs.parts.optimizers import Optimizer
from data.config import Data
from models.config import ModelConfig
from models.execution import Execution
from models.model import abstract_params
from zoo.distribution.batches import BatchLayout, padded_sizes
from zoo.distribution.sharding import (
    Rules,
    batch_sharding,
    rules_for,
    state_shardings,
    with_shardings,
)
from zoo.training.divergence import Recent
from zoo.training.loss import LossSums
from zoo.training.step import Batch, TrainState, make_steps


class Program:
    """The functions of an experiment on the devices of a mesh.

    `mesh` alone defines the devices, which need not be present for compilation. The experiment's
    dtype must be resolved (`Execution.resolve`). Call and lower the functions inside `with
    program.entered():`.

    Raises ConfigError if the model or its batch does not divide over the mesh.
    """

    def __init__(self, experiment: Experiment, mesh: jax.sharding.Mesh):
        self.experiment = experiment
        self.mesh = mesh
        self.rules: Rules = rules_for(experiment, mesh)
        self._steps = make_steps(experiment, mesh)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Set the mesh and the axis rules that `models/` reads while it is traced."""
        with jax.set_mesh(self.mesh), nnx.logical_axis_rules(self.rules):
            yield

    @property
    def graphdef(self) -> nnx.GraphDef:
        """The model without its parameters: `nnx.merge(graphdef, params)` is the whole model."""
        return self._steps.graphdef

    @functools.cached_property
    def params(self) -> nnx.State:
        """The parameters as abstract arrays with their shardings: a target for reading them."""
        abstract = abstract_params(self.experiment.model, self.experiment.param_dtype)
        return with_shardings(abstract, state_shardings(abstract, self.mesh, self.rules))

    @functools.cached_property
    def state(self) -> TrainState:
        """The whole state as abstract arrays with their shardings: a target for reading it."""
        experiment = self.experiment
        abstract = abstract_state(
            experiment.model, experiment.optimizer, experiment.param_dtype, experiment.objective
        )
        recent = jax.eval_shape(lambda: Recent.start(experiment.divergence.window))
        abstract = dataclasses.replace(abstract, recent=recent)
        return with_shardings(abstract, state_shardings(abstract, self.mesh, self.rules))

    @functools.cached_property
    def batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The largest global batch as abstract arrays [B, T] with their shardings."""
        shape = self.experiment.batch_size, self.experiment.seq_len
        sharding = batch_sharding(self.mesh)
        integers = ("inputs", "targets", "positions", "segment_ids")
        dtypes = dict.fromkeys(integers, jnp.int32) | {"weights": jnp.float32}
        return {
            name: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
            for name, dtype in dtypes.items()
        }

    @functools.cached_property
    def batch_layout(self) -> BatchLayout:
        """The rows of the largest batch that this process reads, and their layout."""
        return self.layout_of(self.experiment.batch_size)

    def layout_of(self, batch_size: int) -> BatchLayout:
        """Return the layout, padding included, of a batch of `batch_size` rows."""
        return next(layout for layout in self._layouts if layout.batch_size >= batch_size)

    @functools.cached_property
    def _layouts(self) -> list[BatchLayout]:
        """One layout for each size for which the train step is compiled, the smallest first."""
        sizes = padded_sizes(self.experiment, self.mesh.shape)
        return [BatchLayout(batch_sharding(self.mesh), size) for size in reversed(sizes)]

    @functools.cached_property
    def init(self) -> Callable[[], TrainState]:
        """The state of step 0, with random parameters."""
        return jax.jit(self._steps.init, out_shardings=self._state_shardings)

    @functools.cached_property
    def start(self) -> Callable[[nnx.State], TrainState]:
        """The state of step 0 with given parameters, whose buffers it takes over."""
        return jax.jit(self._steps.start, out_shardings=self._state_shardings, donate_argnums=0)

    @functools.cached_property
    def train_step(self) -> jax.stages.Wrapped:
        """One optimizer step, compiled for each padded size of a batch.

        The new state takes over the buffers of the old one.
        """
        return jax.jit(
            self._steps.train_step, donate_argnums=0, out_shardings=(self._state_shardings, None)
        )

    @functools.cached_property
    def eval_step(self) -> Callable[[nnx.State, Batch], LossSums]:
        """The loss of one batch."""
        return jax.jit(self._steps.eval_step)

    @property
    def _state_shardings(self) -> TrainState:
        return jax.tree.map(lambda leaf: leaf.sharding, self.state)


@functools.cache
def abstract_state(
    model: ModelConfig,
    optimizer: Optimizer,
    param_dtype: ParamDtype,
    objective: Objective = NextToken(),
) -> TrainState:
    """Return a train state's shapes, dtypes and logical axes, which nothing else determines."""
    experiment = Experiment(
        model=model,
        objective=objective,
        data=Data(packing="unmasked"),
        optimizer=optimizer,
        param_dtype=param_dtype,
        execution=Execution(dtype="float32"),
        num_steps=1,
        seq_len=1,
        batch_tokens=1,
    )
    return jax.eval_shape(make_steps(experiment).init)
