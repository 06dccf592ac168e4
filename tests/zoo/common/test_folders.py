import errno
import os
import shutil

import pytest

from zoo.common.errors import WorkdirError
from zoo.common.folders import check_space, new_folder, writing


def test_space_for_the_checkpoints_is_checked_with_numbers(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check_space(tmp_path, 3, 1_000_000_000)
    message = "3,000.0 MB free and 4 checkpoints of 1,000.0 MB need 4,000.0"
    with pytest.raises(WorkdirError, match=message):
        check_space(tmp_path, 4, 1_000_000_000)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; free some space or name another"),
        (errno.EDQUOT, "Disk quota exceeded; free some of your quota"),
        (errno.EROFS, "Read-only file system; mount it for writing"),
        (errno.EACCES, "Permission denied; change its permissions"),
        (errno.ENOENT, "No such file or directory; it was removed, renamed or unmounted"),
        (errno.ESTALE, "mount it again"),
        (errno.EIO, "Input/output error; check the disk"),
    ],
)
def test_the_remedy_fits_the_fault(number, remedy, tmp_path):
    error = OSError(number, os.strerror(number), "file")
    message = f"--workdir={tmp_path} cannot be written: .*{remedy}"
    with pytest.raises(WorkdirError, match=message), writing(tmp_path):
        raise error
    # TensorStore's errors are texts.
    with pytest.raises(WorkdirError, match=remedy.split("; ")[-1]), writing(tmp_path):
        raise OSError(f"Error writing local file: {os.strerror(number)}")
    message = f"--out={tmp_path / 'new'} cannot be written: .*{remedy}"
    with pytest.raises(WorkdirError, match=message), new_folder(tmp_path / "new", "--out"):
        raise error
    assert list(tmp_path.iterdir()) == []
