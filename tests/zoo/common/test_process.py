import os
import subprocess
import sys

import pytest

from zoo.common.process import MALLOC_TUNABLES

REPORT_RESTART = """
import os
from zoo.common.process import keep_freed_memory
print("started", os.getpid(), os.environ.get("GLIBC_TUNABLES"), flush=True)
keep_freed_memory()
print("going on")
"""


def run_report(environment: dict[str, str], *, libc: str) -> list[str]:
    """The lines that a process prints which believes that it runs on the C library `libc`."""
    program = f"import platform\nplatform.libc_ver = lambda: ({libc!r}, '')"
    return subprocess.run(
        [sys.executable, "-c", program + REPORT_RESTART],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout.splitlines()


@pytest.fixture
def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}


@pytest.mark.parametrize(("libc", "restarts"), [("glibc", True), ("", False)])
def test_the_process_restarts_once_on_glibc(libc, restarts, environment):
    lines = run_report(environment, libc=libc)
    _, pid, tunables = lines[0].split()
    assert tunables == "None"
    assert lines[1:-1] == ([f"started {pid} {MALLOC_TUNABLES}"] if restarts else [])
    assert lines[-1] == "going on"


def test_tunables_that_are_already_set_are_respected(environment):
    tunables = "glibc.malloc.tcache_count=1"
    lines = run_report({**environment, "GLIBC_TUNABLES": tunables}, libc="glibc")
    assert [line.split()[-1] for line in lines] == [tunables, "on"]


@pytest.mark.parametrize(
    ("start", "lines"),
    [
        ("runpy.run_module('zoo.train', run_name='__main__')", ["restarted"]),
        ("import zoo.train; zoo.train.main(['--help'])", []),
    ],
    ids=["program", "imported"],
)
def test_training_restarts_only_as_a_program(start, lines, run_process):
    """A program that imports zoo.train, such as a notebook or a test, must not be restarted."""
    program = (
        "import os, platform, runpy, sys\n"
        "platform.libc_ver = lambda: ('glibc', '')\n"
        "os.environ.pop('GLIBC_TUNABLES', None)\n"
        "os.execv = lambda *_: sys.exit(print('restarted'))\n"
        f"{start}"
    )
    process = run_process("-c", program)
    assert process.returncode == 0, process.stderr
    assert [line for line in process.stdout.splitlines() if line == "restarted"] == lines


@pytest.mark.parametrize(
    ("before_abort", "code", "stderr"),
    [("", 6, "error: lost\n"), ("AbortHandler.expect(3)", 3, "")],
    ids=["another process is lost", "after an error in this process"],
)
def test_an_abort_of_jax_becomes_a_message_and_an_exit_code(
    before_abort, code, stderr, run_process
):
    program = (
        "import os\n"
        "from zoo.common.process import AbortHandler\n"
        "AbortHandler.install(6, 'error: lost\\n')\n"
        f"{before_abort}\n"
        "os.abort()"
    )
    process = run_process("-c", program)
    assert (process.returncode, process.stderr) == (code, stderr)
