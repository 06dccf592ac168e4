"""One finished run of palm_nano for the whole session, and ways to start more: as a process, as a
command in this process, and as a process that is sent a signal on its way.
"""

import dataclasses
import fcntl
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import pytest

import configs
from configs.experiment import Experiment
from data.config import Files
from zoo.command_line import cli
from zoo.runs.metrics import METRICS_FILE, read_metrics

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 120.0
"""Only reached when something hangs."""

Process = subprocess.CompletedProcess[str]


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """`python ARGUMENTS` from the repository root, as a person starts it."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> Process:
    with process:
        try:
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="session", autouse=True)
def compile_once(session_folder: Path, private_cache):
    """Compile even small programs only once for all tests and the processes that they start."""
    jax.config.update("jax_compilation_cache_dir", str(session_folder / "cache/gpt-zoo/xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture
def run_process() -> Callable[..., Process]:
    """Runs `python ARGUMENTS` to its end."""
    return lambda *arguments: finish(start(*arguments))


@pytest.fixture
def signalled_process() -> Callable[..., Process]:
    """Runs zoo.train and sends it a signal once metrics.jsonl shows a step."""

    def run(number: signal.Signals, workdir: Path, step: int, *flags: str) -> Process:
        process = start("-m", "zoo.train", f"--workdir={workdir}", *flags)
        give_up_at_s = time.monotonic() + DEADLINE_S
        while not any(row["step"] >= step for row in read_metrics(workdir)):
            if process.poll() is not None or time.monotonic() > give_up_at_s:
                break
            time.sleep(0.005)
        process.send_signal(number)
        return finish(process)

    return run


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a command."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run_here(capsys, monkeypatch) -> Callable[..., Outcome]:
    """Runs a command's `main` in this process, as `cli.run` does, without the 4 s of imports."""
    # `cli.run` silences it where a program ends; here the tests go on.
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def run(main: Callable[[list[str]], None], *flags: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["command", *flags])
        capsys.readouterr()
        code = 0
        try:
            cli.run(main)
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def nano(corpus_glob: str) -> list[str]:
    """Flags of a run that takes seconds on the session's corpus: 6 steps, evaluated and saved at 3
    and 6.
    """
    return [
        "--model=palm_nano",
        f"--data.files={corpus_glob}",
        "--model.vocab-size=400",
        "--num-steps=6",
        "--eval-every=3",
        "--save-every=3",
    ]


STREAMED_TASKS = """
import seqio
from data.seqio_tasks.tasks import TEXT

@seqio.map_over_dataset
def as_text(line):
    return {"targets": line}

seqio.TaskRegistry.remove("streamed")
seqio.TaskRegistry.add("streamed", source=seqio.TextLineDataSource({"train": "LINES"}),
                       preprocessors=[as_text], output_features={"targets": TEXT}, metric_fns=[])
"""


@pytest.fixture
def streamed(nano, corpus_glob, tmp_path, monkeypatch) -> list[str]:
    """Flags of a run that streams 2,400 lines, 1.3 MB: enough to start encoding processes."""
    text = " ".join(Path(path).read_text() for path in sorted(glob.glob(corpus_glob)))
    words = text.split()
    lines = [f"{n} {' '.join(words[n * 12 : n * 12 + 120])}\n" for n in range(2400)]
    (tmp_path / "lines.txt").write_text("".join(lines))
    monkeypatch.setattr("data.batches.streaming.num_cores", lambda: 1)
    module = STREAMED_TASKS.replace("LINES", str(tmp_path / "lines.txt"))
    (tmp_path / "streamed_tasks.py").write_text(module)
    monkeypatch.delitem(sys.modules, "streamed_tasks", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    flags = [flag for flag in nano if not flag.startswith("--data.files")]
    return [*flags, "--data.module=streamed_tasks", "--task=streamed", "--data.streaming"]


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, which no test changes, and what its process printed."""

    workdir: Path
    flags: list[str]
    process: Process

    def metrics(self) -> list[dict[str, float]]:
        return read_metrics(self.workdir)


@pytest.fixture(scope="session")
def trained(session_folder: Path, nano: list[str]) -> Trained:
    """Made by a real process, once for all workers of pytest-xdist: the others wait for it."""
    workdir, record = session_folder / "trained", session_folder / "trained.json"
    flags = [f"--workdir={workdir}", *nano]
    with (session_folder / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            process = finish(start("-m", "zoo.train", *flags, "--json", env=_plain_environment()))
            record.write_text(json.dumps([process.returncode, process.stdout, process.stderr]))
    return Trained(workdir, flags, Process(flags, *json.loads(record.read_text())))


def _plain_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}


@pytest.fixture
def nano_experiment(corpus_glob: str) -> Experiment:
    """The run of the `nano` flags, for `zoo.train.train`."""
    palm = configs.get("palm_nano")
    return dataclasses.replace(
        palm,
        model=dataclasses.replace(palm.model, vocab_size=400),
        data=dataclasses.replace(palm.data, source=Files(corpus_glob)),
        num_steps=6,
        eval_every=3,
        save_every=3,
    )


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return shutil.copytree(trained.workdir, tmp_path / "copied")


@pytest.fixture
def losses() -> Callable[[Path], list[dict[str, float]]]:
    """The rows of a run's metrics.jsonl without the speeds: what must be the same every time."""

    def read(workdir: Path) -> list[dict[str, float]]:
        rows = [json.loads(line) for line in (workdir / METRICS_FILE).read_text().splitlines()]
        return [
            {key: value for key, value in row.items() if not key.startswith("perf/")}
            for row in rows
        ]

    return read
