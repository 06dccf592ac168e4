"""Encoded documents on disk: one flat file of tokens per split, memory-mapped.

A cache is a folder:

    manifest.json       version, fingerprints of corpus and vocabulary, and the blocks of each split
    <split>.tokens      every document's BOS, ids, EOS; little-endian uint16 or uint32
    <split>.offsets     where each document starts, and the end; little-endian int64

It is written in blocks. While it grows, `blocks.jsonl` lists those that are safely on the disk; a
build that was killed resumes after them. Opening a cache compares sizes and the checksum of the
last block, the one that a crash or a full disk damages; this takes no longer for terabytes.
`verify` compares all checksums.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.storage import growing_folder, write_file
from data.text.survey import Split

VERSION = 2

_JOURNAL = "blocks.jsonl"
_BLOCK_TOKENS = 1 << 23  # 16 MB: a few seconds of encoding, 20 ms of checksum

Encoded = tuple[np.ndarray, int]
"""The ids of a document with its BOS and EOS, and the length of its text in UTF-8 bytes."""


@dataclass(frozen=True, eq=False)
class TokenSplit:
    """The encoded documents of one split."""

    tokens: np.memmap
    """[num_tokens] unsigned integers, read-only."""
    offsets: np.memmap
    """[num_documents + 1] int64; document i is `tokens[offsets[i] : offsets[i + 1]]`."""
    num_bytes: int
    """Length of the documents' texts in UTF-8 bytes."""


@dataclass(frozen=True)
class _Block:
    """Consecutive documents that are written together."""

    num_tokens: int
    num_documents: int
    num_bytes: int
    sha256: str
    """Checksum of the tokens followed by the offsets."""


def cache_path(folder: Path, *, corpus: str, vocabulary: str) -> Path:
    """Return the cache's path in `folder`, from the fingerprints of a corpus and a vocabulary."""
    key = hashlib.sha256(f"{VERSION} {corpus} {vocabulary}".encode()).hexdigest()
    return folder / "tokens" / key


def build(
    path: Path,
    documents: Mapping[Split, Callable[[int], Iterator[Encoded]]],
    *,
    vocab_size: int,
    corpus: str,
    vocabulary: str,
    report: Callable[[str], None],
) -> None:
    """Write the cache `path`, all of it or nothing, resuming a build that was interrupted.

    Raises DataError if the disk is full or the folder cannot be written. The blocks written by then
    are kept for the next build.

    Args:
      path: from `cache_path`.
      documents: for each split, a function that yields its encoded documents from a number on.
      vocab_size: decides between uint16 and uint32.
      corpus: fingerprint of the corpus.
      vocabulary: fingerprint of the vocabulary.
      report: takes a line of progress.
    """
    dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
    wait_message = "waiting for another process that encodes this text"
    with growing_folder(path, lambda: report(wait_message)) as folder:
        if folder == path:
            return
        journal = folder / _JOURNAL
        splits: dict[Split, list[_Block]] = {}
        try:
            done = _read_journal(journal)
            if any(done.values()):
                num_done = sum(block.num_documents for blocks in done.values() for block in blocks)
                report(f"resuming after {num_done:,} documents that were encoded before")
            for split, read in documents.items():
                writer = _SplitWriter(folder, split, dtype, done.get(split, []))
                splits[split] = writer.write(read, journal)
        except BaseException:
            if not journal.exists() or not journal.stat().st_size:  # no block to keep
                shutil.rmtree(folder, ignore_errors=True)
            raise
        manifest = {
            "version": VERSION,
            "corpus": corpus,
            "vocabulary": vocabulary,
            "dtype": dtype.str,
            "splits": {split: [asdict(b) for b in blocks] for split, blocks in splits.items()},
        }
        write_file(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
        journal.unlink(missing_ok=True)


def read(path: Path) -> dict[Split, TokenSplit]:
    """Map the cache `path` into memory, after comparing its sizes and its last blocks' checksums.

    Raises FileNotFoundError if there is no cache, and DataError if it is damaged, stale or written
    by another version.
    """
    return _read_checked(path, _last_block_is_sound)


def verify(path: Path) -> None:
    """Compare the checksums of all blocks, about a second per GB. Raises as `read` does."""
    _read_checked(path, _is_sound)


def _read_checked(path: Path, is_sound: Callable[[TokenSplit, list[_Block]], bool]):
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        if manifest["version"] != VERSION:
            raise DataError(
                f"the token cache {path} has format {manifest['version']}, and this version of the "
                f"project reads format {VERSION}; delete the cache, it will be made again"
            )
        made_from = {key: manifest[key] for key in ("corpus", "vocabulary")}
        if cache_path(path.parent.parent, **made_from) != path:
            raise ValueError("it was made from another text or vocabulary than its name says")
        dtype = np.dtype(manifest["dtype"])
        splits = {}
        for split, records in manifest["splits"].items():
            blocks = [_Block(**record) for record in records]
            splits[split] = mapped = _map_split(path, split, blocks, dtype)
            if not is_sound(mapped, blocks):
                raise ValueError(f"a checksum of {split} is wrong")
        return splits
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the token cache {path} is damaged ({error}); delete it, it will be made again"
        ) from error


def _map_split(path: Path, split: Split, blocks: list[_Block], dtype: np.dtype) -> TokenSplit:
    tokens = np.memmap(path / f"{split}.tokens", dtype, mode="r")
    offsets = np.memmap(path / f"{split}.offsets", np.dtype("<i8"), mode="r")
    for name, array, length in (
        ("tokens", tokens, sum(block.num_tokens for block in blocks)),
        ("offsets", offsets, sum(block.num_documents for block in blocks) + 1),
    ):
        if len(array) != length:
            raise ValueError(f"{split}.{name} holds {len(array)} items instead of {length}")
    return TokenSplit(tokens, offsets, sum(block.num_bytes for block in blocks))


def _last_block_is_sound(split: TokenSplit, blocks: list[_Block]) -> bool:
    block = blocks[-1]
    return block.sha256 == _sha256(
        split.tokens[-block.num_tokens :], split.offsets[-block.num_documents - 1 :]
    )


def _is_sound(split: TokenSplit, blocks: list[_Block]) -> bool:
    token_ends = [0, *itertools.accumulate(block.num_tokens for block in blocks)]
    document_ends = [0, *itertools.accumulate(block.num_documents for block in blocks)]
    return all(
        block.sha256 == _sha256(split.tokens[t0:t1], split.offsets[d0 : d1 + 1])
        for block, (t0, t1), (d0, d1) in zip(
            blocks, itertools.pairwise(token_ends), itertools.pairwise(document_ends), strict=True
        )
    )


def _sha256(tokens: np.ndarray, offsets: np.ndarray) -> str:
    digest = hashlib.sha256(tokens.data)
    digest.update(offsets.data)
    return digest.hexdigest()


class _SplitWriter:
    """A writer that appends the documents of one split to its files, block by block."""

    def __init__(self, folder: Path, split: Split, dtype: np.dtype, blocks: list[_Block]):
        self._split, self._dtype, self._blocks = split, dtype, blocks
        self._tokens, self._offsets = (folder / f"{split}.{name}" for name in ("tokens", "offsets"))
        self._num_tokens = sum(block.num_tokens for block in blocks)
        self._num_documents = sum(block.num_documents for block in blocks)

    def write(self, read: Callable[[int], Iterator[Encoded]], journal: Path) -> list[_Block]:
        """Write all documents that are still missing, and return the blocks of the split.

        `read` yields the encoded documents from a number on. Each finished block becomes one line
        of the journal.
        """
        if not self._blocks:
            write_file(self._offsets, np.zeros(1, "<i8").tobytes())
        encoded = read(self._num_documents)
        while block := self._next_block(encoded):
            self._blocks.append(block)
            line = json.dumps({"split": self._split, **asdict(block)}) + "\n"
            _append(journal, line.encode(), at=None)
        return self._blocks

    def _next_block(self, encoded: Iterator[Encoded]) -> _Block | None:
        ids: list[np.ndarray] = []
        num_tokens = num_bytes = 0
        for document, document_bytes in encoded:
            ids.append(document.astype(self._dtype))
            num_tokens, num_bytes = num_tokens + len(document), num_bytes + document_bytes
            if num_tokens >= _BLOCK_TOKENS:
                break
        if not ids:
            return None
        tokens = np.concatenate(ids)
        offsets = self._num_tokens + np.cumsum([0, *map(len, ids)], dtype="<i8")
        _append(self._tokens, tokens.tobytes(), at=self._num_tokens * self._dtype.itemsize)
        _append(self._offsets, offsets[1:].tobytes(), at=(self._num_documents + 1) * 8)
        self._num_tokens += num_tokens
        self._num_documents += len(ids)
        return _Block(num_tokens, len(ids), num_bytes, _sha256(tokens, offsets))


def _append(path: Path, content: bytes, *, at: int | None) -> None:
    """Append `content`, after cutting the file to `at` bytes if an unfinished write left more."""
    with path.open("ab") as file:
        if at is not None:
            file.truncate(at)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_journal(journal: Path) -> dict[Split, list[_Block]]:
    """Return the blocks that are on the disk. A last line that was cut short does not count."""
    done: dict[Split, list[_Block]] = {}
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    complete = [line for line in lines if line.endswith(b"\n")]
    try:
        for line in complete:
            record = json.loads(line)
            done.setdefault(record.pop("split"), []).append(_Block(**record))
    except (ValueError, KeyError, TypeError):  # damaged: start over
        complete, done = [], {}
    write_file(journal, b"".join(complete))
    return done
