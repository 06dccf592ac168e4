"""The zoo's parameters and the tensors of a Hugging Face folder, each made into the other."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from models.config import ModelConfig
from models.transformer import abstract_params
from zoo.errors import CheckpointError
from zoo.hf import folder as hf_folder
from zoo.hf.folder import FLOATS, Tensor
from zoo.hf.layout import LAYOUTS, OUTPUT, Layout, Row, rows_of

SHARD_BYTES = 5_000_000_000
"""Largest safetensors file that is written."""


def read(folder: Path, architecture: str, model: ModelConfig, shardings: nnx.State) -> nnx.State:
    """The parameters, in the precision of the files; no more than one of them is in memory twice.

    Args:
      shardings: of every parameter, from zoo.distribution.sharding.state_shardings.

    Raises CheckpointError unless every tensor of the folder is used once and every shape fits.
    """
    layout = LAYOUTS[architecture]
    placed = {dotted(path): (path, leaf) for path, leaf in nnx.to_flat_state(shardings)}
    rows = rows_of(layout, set(placed))
    tensors = _without_prefix(hf_folder.tensors(folder), layout)
    _check(tensors, layout, rows, model)
    flat = []
    for row in rows:
        for name, value in zip(row.ours, _stacked(row, tensors, model), strict=True):
            path, leaf = placed[name]
            array = jax.block_until_ready(jax.device_put(value, leaf.get_value()))
            flat.append((path, leaf.replace(array)))
            del value, array
    return nnx.from_flat_state(flat)


def dotted(path: Iterable[Any]) -> str:
    """A parameter's path as the layout writes it."""
    return ".".join(map(str, path))


def write(
    folder: Path,
    architecture: str,
    model: ModelConfig,
    read_param: Callable[[tuple[Any, ...]], np.ndarray],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> set[str]:
    """Write the weights into `folder`, in files of at most `shard_bytes`, with one row's parameters
    in memory at a time.

    Args:
      read_param: reads the parameter with a path.

    Returns the names of the parameters' types.
    """
    layout = LAYOUTS[architecture]
    paths = {dotted(path): path for path, _ in nnx.to_flat_state(abstract_params(model))}
    rows = rows_of(layout, set(paths))
    names = [layout.prefix + name for row in rows for name in _names(row, model)]
    writer, kinds = hf_folder.Writer(folder, shard_bytes, names), set()
    for row in rows:
        values = [read_param(paths[name]) for name in row.ours]
        kinds |= {value.dtype.name for value in values}
        for layer in range(model.num_layers if row.is_stacked else 1):
            parts = [value[layer] if row.is_stacked else value for value in values]
            prefix = "" if row.theirs == OUTPUT else layout.prefix
            writer.add(prefix + row.their_name(layer), row.to_theirs(parts, model))
        del values
    writer.finish()
    return kinds


def _without_prefix(tensors: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """By their names in the table. Files of a bare model have no prefix."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(layout.prefix)
        if short in found:
            raise CheckpointError(f"{tensor.file.parent} holds {short} with and without a prefix")
        found[short] = tensor
    return found


def _check(tensors: dict[str, Tensor], layout: Layout, rows: list[Row], model: ModelConfig) -> None:
    """Raise CheckpointError unless the tensors are those of the rows, in shape and type."""
    problems: list[str] = []
    expected: set[str] = set()
    for row in rows:
        for name in _names(row, model):
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
                    f"{name} differs from the embedding, and config.json has tie_word_embeddings=true"
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


def _names(row: Row, model: ModelConfig) -> list[str]:
    return [row.their_name(layer) for layer in range(model.num_layers if row.is_stacked else 1)]


def _stacked(row: Row, tensors: dict[str, Tensor], model: ModelConfig) -> Iterator[np.ndarray]:
    """Each of the row's parameters, its layers along the first axis."""
    sources = [tensors[name] for name in _names(row, model)]
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
