import re
import signal
import urllib.request

import pytest

from tests.zoo.conftest import finish, start
from tests.zoo.reporting.runs import make_run
from zoo import watch


def test_ctrl_c_ends_it_with_code_zero(tmp_path):
    process = start("-m", "zoo.watch", str(make_run(tmp_path / "run")), "--port=0")
    assert process.stderr is not None
    line = process.stderr.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert url is not None, line
    with urllib.request.urlopen(url[0], timeout=60) as answer:
        assert b"palm_nano" in answer.read()
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.returncode == 0
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["no"], "no is not a folder; name the --workdir of a run"),
        (["no", "--port=65536"], "--port=65536 must be from 0 to 65535"),
        (["no", "--refresh-s=0"], "--refresh-s=0 must be above zero"),
    ],
)
def test_a_mistake_is_one_message(flags, message, run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run_here(watch.main, *flags)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert message in outcome.stderr
