"""Encoded documents on disk: one flat file of tokens a split, memory-mapped.

A cache is a folder:

    manifest.json             version, sizes, checksums, and what it was made from
    <split>.tokens            every document's BOS, ids, EOS; little-endian uint16 or uint32
    <split>.offsets           where each document starts, and the end; little-endian int64
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.storage import new_folder, write_file

VERSION = 1


@dataclass(frozen=True, eq=False)
class TokenSplit:
    """The encoded documents of one split.

    Attributes:
      tokens: [num_tokens] unsigned integers, read-only.
      offsets: [num_documents + 1] int64; document i is `tokens[offsets[i] : offsets[i + 1]]`.
      num_bytes: length of the documents' texts in UTF-8 bytes.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    num_bytes: int


@dataclass(frozen=True)
class _SplitManifest:
    num_tokens: int
    num_documents: int
    num_bytes: int
    tokens_sha256: str
    offsets_sha256: str


def cache_path(folder: Path, *, corpus: str, vocabulary: str) -> Path:
    """Where in `folder` the cache of this corpus and vocabulary (fingerprints) belongs."""
    key = hashlib.sha256(f"{VERSION} {corpus} {vocabulary}".encode()).hexdigest()
    return folder / "tokens" / key


def write(
    path: Path,
    documents: Mapping[str, Iterable[np.ndarray]],
    *,
    num_bytes: Mapping[str, int],
    vocab_size: int,
    corpus: str,
    vocabulary: str,
) -> None:
    """Writes the cache `path`, wholly or not at all.

    Args:
      path: from `cache_path`.
      documents: for each split, the ids of its documents with their BOS and EOS.
      num_bytes: for each split, the length of its texts.
      vocab_size: decides between uint16 and uint32.
      corpus: fingerprint of the corpus.
      vocabulary: fingerprint of the vocabulary.

    Raises:
      DataError: the disk is full or the folder cannot be written to.
    """
    dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
    with new_folder(path) as folder:
        splits = {
            split: _write_split(folder, split, encoded, num_bytes[split], dtype)
            for split, encoded in documents.items()
        }
        manifest = {
            "version": VERSION,
            "corpus": corpus,
            "vocabulary": vocabulary,
            "dtype": dtype.str,
            "splits": {split: asdict(record) for split, record in splits.items()},
        }
        write_file(folder / "manifest.json", json.dumps(manifest, indent=2).encode())


def read(path: Path) -> dict[str, TokenSplit]:
    """Maps the cache `path` into memory, after comparing its sizes and checksums.

    Raises:
      FileNotFoundError: there is no cache.
      DataError: the cache is damaged, or was written by a newer version.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        if manifest["version"] != VERSION:
            raise DataError(
                f"The token cache {path} has format {manifest['version']} and this version of the "
                f"project reads {VERSION}. Delete it; it will be made again."
            )
        dtype = np.dtype(manifest["dtype"])
        return {
            split: _read_split(path, split, _SplitManifest(**record), dtype)
            for split, record in manifest["splits"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The token cache {path} is damaged ({error}). Delete it; it will be made again."
        ) from error


def _write_split(
    folder: Path, split: str, documents: Iterable[np.ndarray], num_bytes: int, dtype: np.dtype
) -> _SplitManifest:
    encoded = [document.astype(dtype) for document in documents]
    tokens = np.concatenate(encoded).tobytes()
    offsets = np.cumsum([0, *map(len, encoded)], dtype="<i8").tobytes()
    write_file(folder / f"{split}.tokens", tokens)
    write_file(folder / f"{split}.offsets", offsets)
    return _SplitManifest(
        num_tokens=len(tokens) // dtype.itemsize,
        num_documents=len(encoded),
        num_bytes=num_bytes,
        tokens_sha256=hashlib.sha256(tokens).hexdigest(),
        offsets_sha256=hashlib.sha256(offsets).hexdigest(),
    )


def _read_split(path: Path, split: str, record: _SplitManifest, dtype: np.dtype) -> TokenSplit:
    tokens = np.memmap(path / f"{split}.tokens", dtype, mode="r")
    offsets = np.memmap(path / f"{split}.offsets", np.dtype("<i8"), mode="r")
    for name, array, length, sha256 in (
        ("tokens", tokens, record.num_tokens, record.tokens_sha256),
        ("offsets", offsets, record.num_documents + 1, record.offsets_sha256),
    ):
        if len(array) != length:
            raise ValueError(f"{split}.{name} holds {len(array)} items instead of {length}")
        if hashlib.sha256(array.data).hexdigest() != sha256:
            raise ValueError(f"the checksum of {split}.{name} is wrong")
    return TokenSplit(tokens=tokens, offsets=offsets, num_bytes=record.num_bytes)
