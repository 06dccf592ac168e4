import contextlib
import shutil
import threading
from pathlib import Path

import pytest

from data.errors import DataError
from data.storage import cache_folder, growing_folder, replace_file


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
    with pytest.raises(DataError, match=r"file: No space left on device; .*data\.cache_dir"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_dir"):
        replace_file(tmp_path / "cache" / "file", b"")


def no_wait() -> None:
    raise AssertionError("nobody else is writing")


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "folder"
    with growing_folder(path, no_wait) as folder:
        (folder / "file").write_text("content")
        assert not path.exists()
    assert (path / "file").read_text() == "content"
    assert list(tmp_path.iterdir()) == [path]


def test_the_files_of_an_interrupted_writer_are_found_by_the_next(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(KeyboardInterrupt), growing_folder(path, no_wait) as folder:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt
    assert not path.exists()
    with growing_folder(path, no_wait) as folder:
        assert (folder / "file").read_text() == "half"


@pytest.mark.parametrize("finishes", [True, False])
def test_a_second_writer_waits_for_the_first(tmp_path, finishes):
    path, waiting, yielded = tmp_path / "folder", threading.Event(), []

    def second() -> None:
        with growing_folder(path, waiting.set) as folder:
            yielded.append(folder)

    thread = threading.Thread(target=second)
    with contextlib.suppress(KeyboardInterrupt), growing_folder(path, no_wait) as folder:
        thread.start()
        assert waiting.wait(10)
        if not finishes:
            shutil.rmtree(folder)
            raise KeyboardInterrupt
    thread.join(10)
    assert yielded == [path if finishes else tmp_path / "folder.partial"]
    assert list(tmp_path.iterdir()) == [path]
