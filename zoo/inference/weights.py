"""The form in which a model's weights are held for inference."""

import functools
from typing import assert_never

import jax
from flax import nnx

from configs.experiment import Weights
from models.config import ModelConfig
from models.model import abstract_model
from models.transformer import Transformer
from zoo.distribution.sharding import state_shardings, with_shardings
from zoo.training.program import Program


def hold(
    params: nnx.State, weights: Weights, model: ModelConfig, program: Program | None = None
) -> nnx.State:
    """Return the parameters, or their shapes with shardings, of stacked layers in this form.

    Args:
      program: the mesh that the parameters are sharded over; None: one device has them.
    """
    match weights:
        case "run":
            return params
        case "int8":
            return _in_int8(params, model, program)
        case _:
            assert_never(weights)


def _in_int8(params: nnx.State, model: ModelConfig, program: Program | None) -> nnx.State:
    convert = functools.partial(_convert, nnx.graphdef(abstract_model(model)))
    shardings = None
    if program is not None:
        abstract = jax.eval_shape(convert, params)
        shardings = state_shardings(abstract, program.mesh, program.rules)
        if isinstance(jax.tree.leaves(params)[0], jax.ShapeDtypeStruct):
            return with_shardings(abstract, shardings)
    return jax.jit(convert, out_shardings=shardings)(params)


def _convert(graphdef: nnx.GraphDef, params: nnx.State) -> nnx.State:
    transformer: Transformer = nnx.merge(graphdef, params)
    transformer.store_as_int8()
    return nnx.state(transformer, nnx.Param)
