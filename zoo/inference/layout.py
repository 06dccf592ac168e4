"""The layout in which parameters are read fastest, once per token: one array per layer.

Training stacks the parameters of all layers. XLA's CPU backend copies each layer out of the stack
before it is used, which costs as much as using it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from models.block import Block
from models.config import ModelConfig
from models.execution import Execution
from models.int8 import Int8Matrix
from models.model import abstract_model
from models.transformer import Transformer

Path = tuple[Any, ...]
"""The names that lead to a parameter; of one layer, ("layers", number, ...)."""
_MATRICES = ("kernel", "embedding", "position_embedding", "unembedding")


def graphdef_by_layer(config: ModelConfig, execution: Execution) -> nnx.GraphDef:
    """Return the model without its parameters, which `params_by_layer` lays out."""
    model = abstract_model(config, execution)
    assert isinstance(model, Transformer) and isinstance(model.layers, Block)
    model.layers = nnx.List([nnx.clone(model.layers) for _ in range(config.num_layers)])
    return nnx.graphdef(model)


def params_by_layer(params: nnx.State, execution: Execution, *, consume: bool = False) -> nnx.State:
    """Return the parameters with one array per layer, and matrices in the precision of the run.

    Vectors keep the precision in which they are stored. No program is compiled for it.

    Args:
      consume: delete each stack once its layers are there, so that no memory holds all weights
        twice; `params` cannot be used afterwards.
    """
    dtype = jnp.dtype(execution.dtype)
    pairs: list[tuple[Path, nnx.Variable]] = []
    for path, param in nnx.to_flat_state(params):
        pairs += split(path, param, dtype)
        if consume and path[0] == "layers":
            jax.tree.map(lambda stack: stack.delete(), param.get_value())
    return nnx.from_flat_state(pairs)


def split(path: Path, param: nnx.Variable, dtype: jnp.dtype) -> list[tuple[Path, nnx.Variable]]:
    """Return the parameter of each layer of a stack, or another parameter, with its new path.

    Shapes with shardings in place of arrays become such shapes.
    """
    value = param.get_value()
    leaves, structure = jax.tree.flatten(value)
    is_cast = path[-1] in _MATRICES and not isinstance(value, Int8Matrix)
    dtypes = [dtype if is_cast else leaf.dtype for leaf in leaves]
    if path[0] != "layers":
        return [(path, param.replace(structure.unflatten(map(_cast, leaves, dtypes))))]
    axes = param.get_metadata("out_sharding")[1:]
    layers = zip(*map(_unstack, leaves, dtypes), strict=True)
    return [
        (
            ("layers", number, *path[1:]),
            param.replace(structure.unflatten(layer), out_sharding=axes),
        )
        for number, layer in enumerate(layers)
    ]


def _cast(
    value: jax.Array | jax.ShapeDtypeStruct, dtype: jnp.dtype
) -> jax.Array | jax.ShapeDtypeStruct:
    if isinstance(value, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(value.shape, dtype, sharding=value.sharding)
    return value.astype(dtype)


def _unstack(
    stack: jax.Array | jax.ShapeDtypeStruct, dtype: jnp.dtype
) -> list[jax.Array] | list[jax.ShapeDtypeStruct]:
    """Return the layers of a stack, each sharded as the stack is."""
    sharding, shape = stack.sharding, stack.shape[1:]
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    if isinstance(stack, jax.ShapeDtypeStruct):
        return [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)] * stack.shape[0]
    shards = [(shard.device, np.asarray(shard.data)) for shard in stack.addressable_shards]
    return [
        jax.make_array_from_single_device_arrays(
            shape,
            sharding,
            [jax.device_put(layers[i].astype(dtype), device) for device, layers in shards],
        )
        for i in range(stack.shape[0])
    ]
