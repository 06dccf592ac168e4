"""Convert the tensors of a Hugging Face folder to the zoo's parameters, and back."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from models.config import ModelConfig
from models.model import abstract_params
from zoo.common.errors import CheckpointError
from zoo.hf.folder import FLOATS, Tensor, TensorWriter, list_tensors
from zoo.hf.layout import LAYOUTS, OUTPUT, Layout, Row, rows_of

SHARD_BYTES = 5_000_000_000
"""The size of the largest safetensors file that is written."""


def import_params(
    folder: Path, architecture: str, model: ModelConfig, shardings: nnx.State
) -> nnx.State:
    """Read the parameters, in the precision of the files, and lay them out as `shardings` says.

    No more than one parameter is in memory twice. `shardings` holds the sharding of every
    parameter, from zoo.distribution.sharding.state_shardings. Raises CheckpointError unless every
    tensor of the folder is used once and every shape fits.
    """
    layout = LAYOUTS[architecture]
    leaves = {dotted(path): (path, leaf) for path, leaf in nnx.to_flat_state(shardings)}
    rows = rows_of(layout, set(leaves))
    tensors = _without_prefix(list_tensors(folder), layout)
    _check_tensors(tensors, layout, rows, model)
    flat = []
    for row in rows:
        for name, value in zip(row.ours, _read_parameters(row, tensors, model), strict=True):
            path, leaf = leaves[name]
            array = jax.block_until_ready(jax.device_put(value, leaf.get_value()))
            flat.append((path, leaf.replace(array)))
            del value, array
    return nnx.from_flat_state(flat)


def dotted(path: Iterable[Any]) -> str:
    """Return a parameter's path as the layout writes it."""
    return ".".join(map(str, path))


def export_params(
    folder: Path,
    architecture: str,
    model: ModelConfig,
    read_param: Callable[[tuple[Any, ...]], np.ndarray],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> set[str]:
    """Write the weights into `folder`, in files of at most `shard_bytes`.

    `read_param` reads the parameter at a path; one row's parameters are in memory at a time.
    Returns the names of the parameters' dtypes.
    """
    layout = LAYOUTS[architecture]
    paths = {dotted(path): path for path, _ in nnx.to_flat_state(abstract_params(model))}
    rows = rows_of(layout, set(paths))
    names = [layout.full_name(name) for row in rows for name in _tensor_names(row, model)]
    writer, dtypes = TensorWriter(folder, shard_bytes, names), set()
    for row in rows:
        values = [read_param(paths[name]) for name in row.ours]
        dtypes |= {value.dtype.name for value in values}
        for layer in range(model.num_layers if row.is_stacked else 1):
            parts = [value[layer] if row.is_stacked else value for value in values]
            writer.add(layout.full_name(row.their_name(layer)), row.to_theirs(parts, model))
        del values
    writer.finish()
    return dtypes


def _without_prefix(tensors: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return the tensors by their names in the layout; files of a bare model have no prefix."""
    by_name: dict[str, Tensor] = {}
    for full_name, tensor in tensors.items():
        name = full_name.removeprefix(layout.prefix)
        if name in by_name:
            raise CheckpointError(f"{tensor.file.parent} holds {name} with and without a prefix")
        by_name[name] = tensor
    return by_name


def _check_tensors(
    tensors: dict[str, Tensor], layout: Layout, rows: list[Row], model: ModelConfig
) -> None:
    """Raise CheckpointError unless the tensors are those of the rows, in shape and type."""
    if model.num_layers > len(tensors):
        raise CheckpointError(
            f"the weights do not fit config.json: it has {model.num_layers} layers, and there are "
            f"{len(tensors)} tensors"
        )
    problems: list[str] = []
    expected: set[str] = set()
    for row in rows:
        for name in _tensor_names(row, model):
            expected.add(name)
            if (tensor := tensors.get(name)) is None:
                problems.append(f"{name} is missing")
            elif tensor.shape != row.their_shape(model):
                problems.append(
                    f"{name} has shape {list(tensor.shape)} and config.json says "
                    f"{list(row.their_shape(model))}"
                )
            elif tensor.kind not in FLOATS:
                problems.append(
                    f"{name} is {tensor.kind}, and the zoo reads {', '.join(FLOATS)} only"
                )
    for name, tensor in tensors.items():
        if name in expected or layout.buffers.fullmatch(name):
            continue
        if name == OUTPUT and model.tie_embeddings:
            if not _is_embedding(tensor, tensors[rows[0].theirs]):
                problems.append(
                    f"{name} differs from the embedding, and config.json has "
                    "tie_word_embeddings=true"
                )
            continue
        problems.append(f"{name} has no place in this model")
    if problems:
        more = f"; and {len(problems) - 4} more like these" if len(problems) > 4 else ""
        raise CheckpointError(
            f"the weights do not fit config.json: {'; '.join(problems[:4])}{more}"
        )


def _is_embedding(tensor: Tensor, embedding: Tensor) -> bool:
    return tensor.shape == embedding.shape and np.array_equal(tensor.read(), embedding.read())


def _tensor_names(row: Row, model: ModelConfig) -> list[str]:
    return [row.their_name(layer) for layer in range(model.num_layers if row.is_stacked else 1)]


def _read_parameters(
    row: Row, tensors: dict[str, Tensor], model: ModelConfig
) -> Iterator[np.ndarray]:
    """Yield each of the row's parameters, its layers along the first axis."""
    sources = [tensors[name] for name in _tensor_names(row, model)]
    if not row.is_stacked:
        yield from row.to_ours(sources[0].read(), model)
        return
    dtype = np.result_type(*(FLOATS[source.kind] for source in sources))
    shapes = [part.shape for part in row.to_ours(np.empty(row.their_shape(model), np.int8), model)]
    stacks = [np.empty((len(sources), *shape), dtype) for shape in shapes]
    for layer, source in enumerate(sources):
        for stack, part in zip(stacks, row.to_ours(source.read(), model), strict=True):
            stack[layer] = part
    while stacks:
        yield stacks.pop(0)
