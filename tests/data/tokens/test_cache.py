import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataError
from data.tokens import cache

DOCUMENTS = {
    "train": [([3, 10, 300, 1], 4), ([3, 1], 1)],
    "validation": [([3, 7, 1], 1)],
}


def build(path: Path, documents: Any = None, vocab_size: int = 65_536, report=print) -> None:
    """Build from lists, or from functions that yield the documents from a number on."""

    def reader(listed: Any) -> Any:
        if callable(listed):
            return listed
        return lambda first: ((np.array(ids, np.int32), size) for ids, size in listed[first:])

    given: dict[Any, Any] = documents or DOCUMENTS
    cache.build(
        path,
        {split: reader(listed) for split, listed in given.items()},
        vocab_size=vocab_size,
        corpus="c",
        vocabulary="v",
        report=report,
    )


@pytest.fixture
def small_blocks(monkeypatch):
    """Make every document a block."""
    monkeypatch.setattr(cache, "_BLOCK_TOKENS", 1)


@pytest.fixture
def path(tmp_path) -> Path:
    return cache.cache_path(tmp_path, corpus="c", vocabulary="v")


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_what_is_written_is_read(path, vocab_size, dtype):
    build(path, vocab_size=vocab_size)
    splits = cache.read(path)
    assert splits.keys() == DOCUMENTS.keys()
    train = splits["train"]
    assert train.tokens.dtype == np.dtype(dtype)
    assert train.tokens.tolist() == [3, 10, 300, 1, 3, 1]
    assert train.offsets.tolist() == [0, 4, 6]
    assert train.num_bytes == 5
    assert splits["validation"].tokens.tolist() == [3, 7, 1]
    assert isinstance(train.tokens, np.memmap)
    assert not train.tokens.flags.writeable


def test_the_path_depends_on_corpus_and_vocabulary(tmp_path):
    keys = [("a", "b"), ("a", "c"), ("c", "b")]
    paths = [cache.cache_path(tmp_path, corpus=c, vocabulary=v) for c, v in keys]
    assert len(set(paths)) == 3


def test_a_missing_cache_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        cache.read(path)


@pytest.mark.parametrize("name", ["train.tokens", "train.offsets", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "changed", "removed"])
def test_a_damaged_cache_is_refused(path, name, damage):
    build(path)
    file = path / name
    content = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(content[:-4])
        case "emptied":
            file.write_bytes(b"")
        case "changed":
            file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "removed":
            file.unlink()
    with pytest.raises(DataError, match=f"{path} is damaged .* delete it"):
        cache.read(path)


def test_a_cut_file_is_refused_with_its_numbers(path):
    build(path)
    tokens = path / "train.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"train\.tokens holds 4 items instead of 6"):
        cache.read(path)


def test_a_cache_of_a_newer_version_is_refused(path):
    build(path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(DataError, match=f"{path} has format 99.* delete the cache"):
        cache.read(path)


def test_a_full_disk_leaves_nothing_behind(path, fill_the_disk):
    fill_the_disk()
    with pytest.raises(DataError, match=r"No space left .*data\.cache_dir"):
        build(path)
    assert list(path.parent.iterdir()) == []


def test_an_interrupted_first_block_leaves_nothing_behind(path):
    def documents(first):
        assert first == 0
        yield np.array([3, 1]), 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(path, {"train": documents})
    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_build_resumes_after_its_last_block(path, torn):
    listed = [([3, *range(10, 10 + n), 1], n) for n in range(9)]

    def interrupted(first):
        assert first == 0
        yield from ((np.array(ids), size) for ids, size in listed[:5])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(path, {**DOCUMENTS, "train": interrupted})
    assert not path.exists()
    if torn:  # the power failed between two writes
        partial = path.with_name(path.name + ".partial")
        for name in ("train.tokens", "train.offsets"):
            with (partial / name).open("ab") as file:
                file.write(b"unfinished")
        with (partial / "blocks.jsonl").open("ab") as file:
            file.write(b'{"split": "tr')

    read_from, lines = [], []

    def rest(first):
        read_from.append(first)
        yield from ((np.array(ids), size) for ids, size in listed[first:])

    build(path, {"train": rest, "validation": DOCUMENTS["validation"]}, report=lines.append)
    assert read_from == [5]
    assert lines == ["resuming after 5 documents that were encoded before"]
    train = cache.read(path)["train"]
    assert train.tokens.tolist() == [token for ids, _ in listed for token in ids]
    assert np.diff(train.offsets).tolist() == [len(ids) for ids, _ in listed]
    assert train.num_bytes == sum(size for _, size in listed)
    cache.verify(path)
    names = {file.name for file in path.iterdir()}
    assert names == {f"{s}.{k}" for s in DOCUMENTS for k in ("tokens", "offsets")} | {
        "manifest.json"
    }


@pytest.mark.usefixtures("small_blocks")
def test_reading_compares_the_last_block_and_verifying_all(path):
    build(path)
    tokens = path / "train.tokens"
    content = tokens.read_bytes()
    tokens.write_bytes(content[:2] + b"\7" + content[3:])
    assert cache.read(path)["train"].tokens[1] == 7
    with pytest.raises(DataError, match=f"{path} is damaged .*checksum of train .* delete it"):
        cache.verify(path)


def test_a_cache_under_another_name_is_stale(path):
    build(path)
    other = path.with_name("0" * 64)
    path.rename(other)
    with pytest.raises(DataError, match="made from another text or vocabulary"):
        cache.read(other)


def test_an_existing_cache_is_not_built_again(path):
    build(path)
    build(path, {"train": lambda first: pytest.fail("read again")})
    assert cache.read(path)["train"].num_bytes == 5
