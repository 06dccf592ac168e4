"""Any model of the zoo from its config, and the shapes of its parameters."""

import functools
from typing import assert_never

import jax
from flax import nnx

from models.config import ModelConfig
from models.encoders.encoder import EncoderModel
from models.encoders.encoder_decoder import EncoderDecoderModel
from models.encoders.stacks import Decoder, Encoder, EncoderDecoder
from models.execution import Execution
from models.transformer import FLOAT32, Transformer

Model = Transformer | EncoderModel | EncoderDecoderModel


def build(config: ModelConfig, execution: Execution = FLOAT32, *, rngs: nnx.Rngs) -> Model:
    """Return the model of a config, with random parameters."""
    match config.stack:
        case Decoder():
            return Transformer(config, execution, rngs=rngs)
        case Encoder() as stack:
            return EncoderModel(config, stack, execution, rngs=rngs)
        case EncoderDecoder() as stacks:
            return EncoderDecoderModel(config, stacks, execution, rngs=rngs)
        case _:
            assert_never(config.stack)


def abstract_model(config: ModelConfig, execution: Execution = FLOAT32) -> Model:
    """Return the model with shapes and dtypes in place of arrays: nothing is allocated."""
    return nnx.eval_shape(lambda: build(config, execution, rngs=nnx.Rngs(0)))


def abstract_params(config: ModelConfig, dtype: str = "float32") -> nnx.State:
    """Return the shapes and logical axes of all parameters, which are stored in `dtype`."""
    params = nnx.state(abstract_model(config), nnx.Param)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), params)


@functools.cache
def num_params(config: ModelConfig) -> int:
    """Return the exact number of parameters by abstract evaluation, which needs no memory."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
