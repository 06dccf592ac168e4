"""Connecting the processes of one run, most often one per host.

`jax.distributed` connects them. By itself it ends a process whose peers are missing or lost with
abort(), which does not name them. The code here finds and names the missing processes.
"""

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import jax
from jax._src.clusters import ClusterEnv  # there is no public way to ask before connecting

from configs.experiment import Distributed
from models.config import ConfigError
from zoo.common import folders
from zoo.common.errors import LOST_HOST, LOST_HOST_MESSAGE, LostHostError
from zoo.common.process import AbortHandler
from zoo.common.progress import Progress
from zoo.distribution.hosts import Hosts

HOSTS_FOLDER = ".hosts"
"""Folder in the workdir where the processes of a run sign in before they are connected."""
SIGN_EVERY_S = 1.0
"""Seconds between two times that a waiting process signs in."""
GONE_AFTER_S = 5.0
"""A process that has not signed in for this long has left."""
SHOWN_WITHIN_S = 10.0
"""The longest delay with which a network file system shows a new file."""


@dataclasses.dataclass(frozen=True)
class _Identity:
    """The position of this process in the run."""

    coordinator: str
    num_processes: int
    process_id: int
    device_ids: Sequence[int] | None
    """The local devices that it uses; None: all."""


def join(config: Distributed, folder: Path | None, report: Progress) -> Hosts:
    """Wait for the other processes of this command; a process that is alone does not wait.

    Args:
      folder: the workdir of the run, where processes sign in, so that missing ones can be named;
        None: a command that only reads. Its missing processes are counted.

    Raises ConfigError if the flags or the cluster's settings do not identify the processes, or if
    they do not share `folder`; raises LostHostError if processes are missing.
    """
    identity = _identity(config)
    if identity is None:
        return Hosts((socket.gethostname(),))
    if jax.distributed.is_initialized():  # by an earlier run of this program
        return Hosts(tuple(Hosts.gather(socket.gethostname())))
    report.line(
        f"process {identity.process_id} of {identity.num_processes}, meeting the others at "
        f"{identity.coordinator}"
    )
    register = None if folder is None else _Register(folder, identity)
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is StopRequest's
    _keep_stdout_clean()
    executor = ThreadPoolExecutor(1)
    connecting = executor.submit(
        jax.distributed.initialize,
        identity.coordinator,
        identity.num_processes,
        identity.process_id,
        identity.device_ids,
        cluster_detection_method="deactivate",
        initialization_timeout=config.timeout_s + 60,  # after `_wait_for_others` gave up
        heartbeat_timeout_seconds=config.heartbeat_s,
        shutdown_timeout_seconds=config.heartbeat_s,
    )
    _wait_for_others(connecting, register, identity.num_processes, config.timeout_s)
    AbortHandler.install(LOST_HOST, f"error: {LOST_HOST_MESSAGE}\n")
    hosts = Hosts(tuple(Hosts.gather(socket.gethostname())))
    if register is not None:
        hosts.together(register.check_shared)
        register.sign_off()
    return hosts


def _identity(config: Distributed) -> _Identity | None:
    """Read the identity from the flags, or else from the cluster. None: this process is alone."""
    flags = config.coordinator, config.num_processes, config.process_id
    if flags == (None, 1, None):
        return None
    coordinator, num_processes, process_id = flags
    device_ids: Sequence[int] | None = None
    if None in flags:
        try:
            coordinator, num_processes, process_id, device_ids = (
                ClusterEnv.auto_detect_unset_distributed_params(
                    *flags, None, None, config.timeout_s
                )
            )
        except Exception as error:  # each kind of cluster raises other errors
            raise ConfigError(
                f"the cluster does not say which processes this run has ({error!r}); write "
                "--distributed.coordinator, --distributed.num-processes and "
                "--distributed.process-id, or --distributed.num-processes=1 to train in this "
                "process alone"
            ) from error
        if flags == (None, None, None) and (coordinator is None or num_processes == 1):
            return None
    if coordinator is None or num_processes is None or process_id is None:
        raise ConfigError(
            "--distributed.coordinator, --distributed.num-processes and --distributed.process-id "
            "belong together where there is no cluster that JAX knows; write all three"
        )
    if not 0 <= process_id < num_processes:
        raise ConfigError(
            f"distributed.process_id={process_id} must be from 0 to "
            f"num_processes - 1 = {num_processes - 1}"
        )
    return _Identity(coordinator, num_processes, process_id, device_ids)


def _wait_for_others(
    connecting: Future, register: "_Register | None", num_processes: int, timeout_s: float
) -> None:
    """Sign in until all are connected. Raises LostHostError, with the missing, after timeout_s."""
    give_up_at_s = time.monotonic() + timeout_s
    while not wait([connecting], SIGN_EVERY_S).done:
        if register is not None:
            register.sign()
        if time.monotonic() > give_up_at_s:
            missing, places = f"some of {num_processes} processes", "command"
            if register is not None:
                missing, places = register.missing(), "command and --workdir, where they sign in"
                register.sign_off()
            raise LostHostError(
                f"{missing} did not come within {timeout_s} s; start all with the same {places}, "
                "or allow more --distributed.timeout-s",
                exit_code=2,
            )
    connecting.result()


class _Register:
    """The list of arrived processes: files in the workdir, which they share before they connect."""

    def __init__(self, folder: Path, identity: _Identity):
        self._folder = folder / HOSTS_FOLDER
        self._identity = identity
        self._own = self._folder / str(identity.process_id)
        with folders.writing(folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self.sign()

    def sign(self) -> None:
        """Note that this process is here now."""
        with folders.writing(self._folder.parent):
            self._own.write_text(socket.gethostname())

    def sign_off(self) -> None:
        """Remove this process's file, and the folder if it was the last."""
        self._own.unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()

    def missing(self) -> str:
        """Name the missing processes: `processes 1 and 3 of 4`."""
        now_s = self._own.stat().st_mtime  # by the clock of the folder's disk
        here = {
            int(path.name)
            for path in self._folder.iterdir()
            if now_s - path.stat().st_mtime < GONE_AFTER_S
        }
        ids = [str(i) for i in range(self._identity.num_processes) if i not in here]
        listed = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        return f"process{'es' * (len(ids) > 1)} {listed} of {self._identity.num_processes}"

    def check_shared(self) -> None:
        """Raise ConfigError unless process 0 has signed in to the folder that this process sees."""
        give_up_at_s = time.monotonic() + SHOWN_WITHIN_S
        while not (self._folder / "0").exists():
            if time.monotonic() > give_up_at_s:
                raise ConfigError(
                    f"--workdir={self._folder.parent} is not the folder that process 0 sees under "
                    "this name; a run of several processes needs a file system that all share"
                )
            time.sleep(0.1)


def _keep_stdout_clean() -> None:
    """Send what Gloo prints from C++ on stdout to stderr: stdout is for a command's product."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    os.dup2(2, 1)
