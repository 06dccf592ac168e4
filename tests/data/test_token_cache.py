import json
from pathlib import Path

import numpy as np
import pytest

from data import token_cache
from data.errors import DataError

DOCUMENTS = {
    "train": [np.array([3, 10, 300, 1], np.int32), np.array([3, 1], np.int32)],
    "validation": [np.array([3, 7, 1], np.int32)],
}


def write(path: Path, documents=DOCUMENTS, vocab_size: int = 65_536) -> None:
    token_cache.write(
        path,
        documents,
        num_bytes={"train": 5, "validation": 1},
        vocab_size=vocab_size,
        corpus="c",
        vocabulary="v",
    )


@pytest.fixture
def path(tmp_path) -> Path:
    return token_cache.cache_path(tmp_path, corpus="c", vocabulary="v")


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_what_is_written_is_read(path, vocab_size, dtype):
    write(path, vocab_size=vocab_size)
    splits = token_cache.read(path)
    assert splits.keys() == DOCUMENTS.keys()
    train = splits["train"]
    assert train.tokens.dtype == np.dtype(dtype)
    assert train.tokens.tolist() == [3, 10, 300, 1, 3, 1]
    assert train.offsets.tolist() == [0, 4, 6]
    assert train.num_bytes == 5
    assert splits["validation"].tokens.tolist() == [3, 7, 1]
    assert isinstance(train.tokens, np.memmap)
    assert not train.tokens.flags.writeable


def test_the_key_is_of_corpus_and_vocabulary(tmp_path):
    keys = [("a", "b"), ("a", "c"), ("c", "b")]
    paths = [token_cache.cache_path(tmp_path, corpus=c, vocabulary=v) for c, v in keys]
    assert len(set(paths)) == 3


def test_a_missing_cache_is_not_an_error_of_its_own(path):
    with pytest.raises(FileNotFoundError):
        token_cache.read(path)


@pytest.mark.parametrize("name", ["train.tokens", "train.offsets", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "changed", "removed"])
def test_a_damaged_cache_is_refused(path, name, damage):
    write(path)
    file = path / name
    content = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(content[:-4])
        case "emptied":
            file.write_bytes(b"")
        case "changed":
            file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        case "removed":
            file.unlink()
    with pytest.raises(DataError, match=f"{path} is damaged .* Delete it"):
        token_cache.read(path)


def test_a_cut_file_is_refused_with_its_numbers(path):
    write(path)
    tokens = path / "train.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"train\.tokens holds 4 items instead of 6"):
        token_cache.read(path)


def test_a_cache_of_a_newer_version_is_refused(path):
    write(path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(DataError, match=f"{path} has format 99 .* Delete it"):
        token_cache.read(path)


def test_a_full_disk_leaves_nothing_behind(path, fill_the_disk):
    fill_the_disk()
    with pytest.raises(DataError, match=r"No space left .*data\.cache_dir"):
        write(path)
    assert list(path.parent.iterdir()) == []


def test_an_interrupted_encoding_leaves_nothing_behind(path):
    def documents():
        yield DOCUMENTS["train"][0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, DOCUMENTS | {"train": documents()})
    assert list(path.parent.iterdir()) == []
