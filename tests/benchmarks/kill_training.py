"""Kill training runs at random moments, a third of them while they save, and compare their losses.

    python -m tests.benchmarks.kill_training --kills=100

Each run is killed with SIGKILL and started again until it ends by itself. Its metrics must then be
equal, to the bit, to those of a run that nobody disturbed. Every kill must leave the newest
checkpoint intact, and no start may leave an unfinished one. Exit code 1 if any of that fails.

100 kills take about 20 minutes on two cores.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

FLAGS = [
    "--model=palm_nano",
    "--model.vocab-size=400",
    "--num-steps=300",
    "--eval-every=100",
    "--save-every=20",
    "--keep=2",
]
PRELOADED = ["zoo.train", "zoo.runs.loop", "zoo.runs.setup", "zoo.distribution.join"]
"""Imported once, before JAX looks for devices: a restart then takes no 4 s of imports."""
UNFINISHED = "*.orbax-checkpoint-tmp*"

Row = dict[str, float]


@dataclass
class Count:
    """The outcome so far."""

    kills: int = 0
    while_saving: int = 0
    """Kills that left an unfinished checkpoint."""
    before_a_checkpoint: int = 0
    """Kills after which the run started over."""
    finished_runs: int = 0
    faults: list[str] = field(default_factory=list)


def train(workdir: Path, text: Path, log: Path) -> None:
    """Run the command in this process, with its output in `log`."""
    from zoo import train as command
    from zoo.command_line import cli

    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    flags = [f"--data.files={text}/*.txt", f"--workdir={workdir}"]
    sys.argv = ["zoo.train", *FLAGS, *flags]
    cli.run(command.main)


def rows(workdir: Path) -> list[Row]:
    """The metrics of a run without its speeds."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("perf/")}
        for line in lines
    ]


def wait_for_save(workdir: Path, process: BaseProcess, number: int) -> bool:
    """Wait until the `number`-th save from now is under way; False if the process ends first."""
    seen: set[str] = set()
    while process.is_alive():
        with contextlib.suppress(FileNotFoundError):
            seen |= {path.name for path in (workdir / "checkpoints").glob(UNFINISHED)}
        if len(seen) >= number:
            return True
        time.sleep(0.0005)
    return False


def unfinished(workdir: Path) -> list[str]:
    return [path.name for path in (workdir / "checkpoints").glob(UNFINISHED)]


def check_after_kill(workdir: Path, count: Count) -> None:
    """A kill never damages the newest checkpoint."""
    from zoo.checkpoints import recovery

    found = recovery.survey(workdir)
    if found.damaged:
        count.faults.append(f"after kill {count.kills}: {found.damaged}")
    count.before_a_checkpoint += found.newest is None


def one_run(
    folder: Path, text: Path, expected: list[Row], whole_s: float, kills: int, count: Count
) -> None:
    """Kill a run until it is done, at most until there were `kills` in all; then compare it."""
    context, workdir = multiprocessing.get_context("forkserver"), folder / "run"
    while True:
        process = context.Process(target=train, args=(workdir, text, folder / "log"))
        process.start()
        if count.kills < kills:
            if count.kills % 3 == 0:
                if wait_for_save(workdir, process, random.randint(1, 6)):
                    time.sleep(random.uniform(0, 0.03))
            else:
                process.join(random.uniform(0, whole_s))
        else:
            process.join()
        if not process.is_alive():
            break
        process.kill()
        process.join()
        count.kills += 1
        count.while_saving += bool(unfinished(workdir))
        check_after_kill(workdir, count)
    process.join()
    log = (folder / "log").read_text()
    if process.exitcode != 0 or "Traceback" in log or "damaged" in log:
        count.faults.append(f"exit code {process.exitcode}: {log[-2000:]}")
    elif rows(workdir) != expected:
        count.faults.append(f"run {count.finished_runs} has other losses than a run in one piece")
    if left := unfinished(workdir):
        count.faults.append(f"run {count.finished_runs} left {left}")
    count.finished_runs += 1


def write_text(folder: Path) -> None:
    """Write a text of made-up words, the same every time."""
    words = random.Random(0)
    vocabulary = ["".join(words.choices("abcdefghij", k=words.randint(2, 7))) for _ in range(300)]
    for number in range(20):
        lines = [" ".join(words.choices(vocabulary, k=9)) for _ in range(150)]
        (folder / f"{number:02}.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    start_s, count = time.perf_counter(), Count()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        base = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(base / "cache")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        # A killed process cannot give its semaphores back.
        os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        text = base / "text"
        text.mkdir()
        write_text(text)
        # The first run fills the caches, the second measures how long a run takes.
        for workdir in (base / "first", base / "whole"):
            whole_s = -time.perf_counter()
            process = context.Process(target=train, args=(workdir, text, base / "log"))
            process.start()
            process.join()
            whole_s += time.perf_counter()
            assert process.exitcode == 0, (base / "log").read_text()
        expected = rows(base / "whole")
        assert rows(base / "first") == expected
        while count.kills < arguments.kills:
            folder = base / "killed"
            folder.mkdir()
            one_run(folder, text, expected, whole_s, arguments.kills, count)
            shutil.rmtree(folder)
            print(json.dumps(summary(count)), flush=True)
    print(json.dumps(summary(count) | {"seconds": round(time.perf_counter() - start_s)}))
    sys.exit(bool(count.faults))


def summary(count: Count) -> dict[str, Any]:
    return vars(count)


if __name__ == "__main__":
    main()
