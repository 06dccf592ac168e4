from pathlib import Path

import pytest

from data.errors import DataError
from data.storage import cache_folder, new_folder, replace_file


def test_the_cache_folder_is_the_configured_one_or_the_users(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/ada")
    assert cache_folder("~/mine") == Path("/home/ada/mine")
    assert cache_folder(None) == Path("/var/cache/ada/gpt-zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path("/home/ada/.cache/gpt-zoo")


def test_replace_file_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path, fill_the_disk):
    path = tmp_path / "file"
    replace_file(path, b"old")
    fill_the_disk()
    with pytest.raises(DataError, match=r"file: No space left on device\. .*data\.cache_dir"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_a_folder_should_be_is_explained(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_dir"):
        replace_file(tmp_path / "cache" / "file", b"")


def test_a_new_folder_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "folder"
    with new_folder(path) as folder:
        (folder / "file").write_text("content")
        assert not path.exists()
    assert (path / "file").read_text() == "content"

    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "other") as folder:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path]


def test_the_faster_of_two_writers_wins(tmp_path):
    path = tmp_path / "folder"
    with new_folder(path) as slow:
        (slow / "file").write_text("slow")
        with new_folder(path) as fast:
            (fast / "file").write_text("fast")
    assert (path / "file").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [path]
