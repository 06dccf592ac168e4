"""The processes that train the runs of a study: one per device, or several on a CPU's cores."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from configs.experiment import Experiment
from models.config import check
from zoo.ablation.study import Planned, Run, Study, Trained
from zoo.common.errors import StartedRunError
from zoo.common.process import MALLOC_TUNABLES
from zoo.common.serialize import to_json

Trainer = Callable[[Experiment, Path], Trained]
"""Trains in a workdir, and resumes the run that is there."""

PROGRAM = "from zoo.ablation.worker import main; from zoo.train import train; main(train)"


def train_all(study: Study, trainers: Sequence[Trainer], report: Callable[[Run], None]) -> None:
    """Make every run that is not finished, as many at a time as there are trainers.

    A single one works in the thread of the caller, the only one that signals reach.
    """
    if len(trainers) == 1:
        while (planned := next(study.ready(), None)) is not None:
            found = trainers[0](study.experiment(planned), study.workdir(planned))
            report(study.record(planned, found))
        return
    idle, running = list(trainers), dict[Future[Trained], tuple[Planned, Trainer]]()
    threads = ThreadPoolExecutor(len(trainers))  # they wait for the processes that train
    try:
        while True:
            under_way = {planned.key for planned, _ in running.values()}
            for planned in study.ready():
                if not idle:
                    break
                if planned.key in under_way:
                    continue
                trainer = idle.pop()
                future = threads.submit(trainer, study.experiment(planned), study.workdir(planned))
                running[future] = planned, trainer
            if not running:
                return
            done = wait(running, return_when=FIRST_COMPLETED).done
            # What has failed comes last, so that no finished run is lost.
            for future in sorted(done, key=lambda future: future.exception() is not None):
                planned, trainer = running.pop(future)
                idle.append(trainer)
                report(study.record(planned, future.result()))
    finally:
        # Without waiting: the caller ends the processes, and with them the threads.
        threads.shutdown(wait=False, cancel_futures=True)


def train_together(
    experiment: Experiment, folder: Path, trainers: Sequence[Trainer]
) -> list[Trained]:
    """Make the same run with all trainers at the same time, each in a folder of its own."""
    if len(trainers) == 1:
        return [trainers[0](experiment, folder / "0")]
    threads = ThreadPoolExecutor(len(trainers))
    try:
        runs = [
            threads.submit(trainer, experiment, folder / str(number))
            for number, trainer in enumerate(trainers)
        ]
        return [run.result() for run in runs]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def started(jobs: int) -> Iterator[list[Trainer]]:
    """Yield as many trainers, each a process with its share of the devices.

    At the end of the block, also by an error or Ctrl-C, each saves its run and stops. Raises
    ConfigError if the accelerators cannot be shared among so many.
    """
    if jobs > 1:
        check_shared(jobs, *_devices())
    processes = [_start(number, jobs) for number in range(jobs)]
    try:
        yield [_trainer(process) for process in processes]
    finally:
        for process in processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in processes:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def check_shared(jobs: int, platform: str, num_devices: int) -> None:
    """Raise ConfigError unless so many processes can each have devices of their own."""
    check(
        platform != "tpu",
        f"--jobs={jobs} needs as many processes, and a TPU serves one; write --jobs=1",
    )
    check(
        platform != "gpu" or jobs <= num_devices,
        f"--jobs={jobs} is more than the {num_devices} GPUs that are here; write "
        f"--jobs={num_devices}",
    )


def _devices() -> tuple[str, int]:
    """Return the platform and its devices, as a process of its own sees them."""
    program = "import jax; print(jax.default_backend(), jax.local_device_count())"
    command = [sys.executable, "-c", program]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return told[-2], int(told[-1])


def _start(number: int, jobs: int) -> subprocess.Popen[str]:
    """Start one of several processes, on one of the GPUs or on its share of the cores."""
    command = [sys.executable, "-c", PROGRAM]
    environment = {"GLIBC_TUNABLES": MALLOC_TUNABLES, **os.environ}
    if jobs > 1:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(jobs)))).split(",")
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    if jobs > 1 and hasattr(os, "sched_getaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        share = cores[number * len(cores) // jobs : (number + 1) * len(cores) // jobs]
        command.append(",".join(map(str, share or cores)))
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0,  # Ctrl-C is for this process, which ends that one
    )


def _trainer(process: subprocess.Popen[str]) -> Trainer:
    def train(experiment: Experiment, workdir: Path) -> Trained:
        assert process.stdin is not None and process.stdout is not None
        request = {"experiment": to_json(experiment), "workdir": str(workdir.absolute())}
        with contextlib.suppress(BrokenPipeError):  # what ended the process is read below
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            reason = f"code {code}" if code >= 0 else f"{signal.Signals(-code).name}"
            raise StartedRunError(
                f"the process that trains {workdir} ended with {reason}; its output above or "
                "log.txt there may say why, and the same command goes on",
                code if code > 0 else 1,
            )
        answer = json.loads(line)
        if "error" in answer:
            raise StartedRunError(f"{workdir}: {answer['error']}", answer["code"])
        return Trained(**{**answer, "curve": tuple(map(tuple, answer["curve"]))})

    return train
