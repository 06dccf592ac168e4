"""A Hugging Face folder: config.json, and tensors in one or many safetensors files."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from zoo.common.errors import CheckpointError

CONFIG_FILE = "config.json"
_ONE_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"

FLOATS = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
"""The types that a weight may have, by their names in safetensors."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file; its values are not read yet."""

    name: str
    file: Path
    shape: tuple[int, ...]
    kind: str
    """The name of its type in safetensors."""

    def read(self) -> np.ndarray:
        """Read the values, in the precision of the file."""
        # Read, not map, the file: the pages of a mapped file would count as this process's memory.
        with (
            _raise_if_damaged(self.file),
            safe_open(self.file, framework="np", backend="pread") as file,
        ):
            return file.get_tensor(self.name)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError if the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no {path}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """Read the folder's config.json. Raises CheckpointError if it is not a Hugging Face folder."""
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"--from-hf={folder} is not a Hugging Face folder: it has no {CONFIG_FILE}; name a "
            "folder with config.json, safetensors and a tokenizer"
        )
    return read_json(file_in(folder, CONFIG_FILE))


def file_in(folder: Path, name: str) -> Path:
    """Return the path of the folder's file `name`.

    Raises CheckpointError if it is no plain name, or a link that leaves the folder. A snapshot in
    Hugging Face's cache may link to the files of its own repository: MODEL/snapshots/REVISION links
    to MODEL/blobs.
    """
    if name in ("", ".", "..") or name != os.path.basename(name) or not name.isprintable():
        raise CheckpointError(f"{folder} names the file {name!r}, which is not in the folder")
    root, target = os.path.realpath(folder), Path(os.path.realpath(folder / name))
    if os.path.basename(os.path.dirname(root)) == "snapshots":
        root = os.path.dirname(os.path.dirname(root))
    if not target.is_relative_to(root):
        raise CheckpointError(
            f"{folder / name} is a link out of its folder, to {target}; put the file itself there"
        )
    return folder / name


def list_tensors(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of the folder by name, without their values.

    Raises CheckpointError if a file is missing or damaged, or a name is in two files or in none.
    """
    if (folder / _INDEX).is_file():
        promised = read_json(file_in(folder, _INDEX)).get("weight_map")
        if not isinstance(promised, dict):
            raise CheckpointError(f"{folder / _INDEX} is damaged: it has no weight_map")
        files = [file_in(folder, name) for name in sorted(set(map(str, promised.values())))]
    elif (folder / _ONE_FILE).is_file():
        promised, files = {}, [file_in(folder, _ONE_FILE)]
    else:
        raise CheckpointError(
            f"{folder} has neither {_ONE_FILE} nor {_INDEX}; other formats are not read; if "
            "transformers can load it, model.save_pretrained(...) writes safetensors"
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        for tensor in _tensors_of(file):
            if tensor.name in tensors:
                raise CheckpointError(
                    f"{tensor.name} is both in {file.name} and in {tensors[tensor.name].file.name}"
                )
            tensors[tensor.name] = tensor
    if missing := sorted(set(promised) - set(tensors)):
        raise CheckpointError(f"{folder / _INDEX} promises {missing[0]}, which is in no file")
    return tensors


def _tensors_of(file: Path) -> list[Tensor]:
    if not file.is_file():
        raise CheckpointError(f"{file} cannot be read: it is missing")
    with _raise_if_damaged(file), safe_open(file, framework="np", backend="pread") as opened:
        return [
            Tensor(name, file, tuple(tensor.get_shape()), tensor.get_dtype())
            for name in opened.offset_keys()
            for tensor in [opened.get_slice(name)]
        ]


@contextmanager
def _raise_if_damaged(file: Path) -> Iterator[None]:
    """Raise CheckpointError, which names the file, for what safetensors cannot read."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} cannot be read: it is damaged, cut short or missing ({error})"
        ) from error


class TensorWriter:
    """Write tensors, one at a time, into files of at most `shard_bytes`; index them if several.

    The library's own `save_file` needs all tensors of a file in memory at once. A safetensors file
    consists of the length of its header in 8 bytes, the header, which is JSON and may end in
    spaces, and the bytes of the tensors one after the other.
    """

    def __init__(self, folder: Path, shard_bytes: int, names: Sequence[str]):
        """`names` lists all tensors to come; it reserves room for the header in front of them."""
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._header_bytes = 64 + sum(len(json.dumps(name)) + 192 for name in names)
        self._shards: list[dict[str, Any]] = []
        self._num_bytes = 0
        self._file: BinaryIO | None = None

    def add(self, name: str, tensor: np.ndarray) -> None:
        """Write the tensor to the current file, or to the next one if that is full."""
        if self._file is not None and self._num_bytes + tensor.nbytes > self._shard_bytes:
            self._close()
        if self._file is None:
            self._file = self._partial(len(self._shards)).open("wb")
            self._file.seek(8 + self._header_bytes)
            self._shards.append({})
            self._num_bytes = 0
        end = self._num_bytes + tensor.nbytes
        self._shards[-1][name] = {
            "dtype": next(kind for kind, dtype in FLOATS.items() if dtype == tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [self._num_bytes, end],
        }
        self._file.write(tensor.reshape(-1).view(np.uint8).data)
        self._num_bytes = end

    def finish(self) -> None:
        """Close the last file, and give all files the names that Hugging Face expects."""
        self._close()
        count = len(self._shards)
        names = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
        for number, name in enumerate(names if count > 1 else [_ONE_FILE]):
            self._partial(number).rename(self._folder / name)
        if count == 1:
            return
        weight_map = {
            tensor: name
            for name, shard in zip(names, self._shards, strict=True)
            for tensor in shard
        }
        sizes = [
            max(tensor["data_offsets"][1] for tensor in shard.values()) for shard in self._shards
        ]
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map}
        (self._folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")

    def _close(self) -> None:
        assert self._file is not None
        header = json.dumps({"__metadata__": {"format": "pt"}} | self._shards[-1]).encode()
        self._file.seek(0)
        self._file.write(self._header_bytes.to_bytes(8, "little"))
        self._file.write(header.ljust(self._header_bytes))
        self._file.close()
        self._file = None

    def _partial(self, number: int) -> Path:
        return self._folder / f"{number}.partial"
