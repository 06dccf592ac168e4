import sys
from types import ModuleType

import pytest

from colab import drive


def test_the_drive_is_mounted_and_the_runs_are_on_it(monkeypatch):
    mounted, module = [], ModuleType("google.colab.drive")
    monkeypatch.setattr(module, "mount", mounted.append, raising=False)
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "google.colab.drive", module)
    assert drive.folder_on_drive() == "/content/drive/MyDrive/gpt-zoo"
    assert mounted == ["/content/drive"]


def test_outside_of_colab_the_message_says_what_to_write():
    with pytest.raises(drive.DriveError, match="only Colab has a Drive .*: write USE_DRIVE = Fal"):
        drive.folder_on_drive()
