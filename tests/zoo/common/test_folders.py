import shutil

import pytest

from zoo.common.errors import WorkdirError
from zoo.common.folders import check_space


def test_space_for_the_checkpoints_is_checked_with_numbers(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check_space(tmp_path, 3, 1_000_000_000)
    message = "3,000.0 MB free and 4 checkpoints of 1,000.0 MB need 4,000.0"
    with pytest.raises(WorkdirError, match=message):
        check_space(tmp_path, 4, 1_000_000_000)
