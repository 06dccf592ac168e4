"""The processes of one run: they exchange facts, fail together and stop together."""

import dataclasses
import functools
import hashlib
import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from configs.experiment import Experiment
from data.config import without_paths
from zoo.common import errors
from zoo.common.serialize import differences, to_json

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The processes of this run, which must all call the same methods in the same order."""

    names: tuple[str, ...] = ("localhost",)
    """The host of each process."""

    @property
    def is_primary(self) -> bool:
        """True in the process that writes logs, metrics, plots and samples."""
        return jax.process_index() == 0

    def name(self, process_id: int) -> str:
        """Name a process for people: `worker-3 (process 3)`."""
        return f"{self.names[process_id]} (process {process_id})"

    @staticmethod
    def gather(value: Any) -> list[Any]:
        """Collect the JSON value that each process passes, in their order."""
        if jax.process_count() == 1:
            return [value]
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = multihost_utils.process_allgather(np.array(len(text)))
        width = 1 << int(lengths.max()).bit_length()  # few widths: each is a program to compile
        rows = multihost_utils.process_allgather(np.pad(text, (0, width - len(text))))
        return [json.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]

    def together(self, work: Callable[[], T]) -> T:
        """Do `work` in all processes. An error that a user can correct is raised in all of them."""
        error, results = None, []
        try:
            results.append(work())
        except Exception as raised:
            code = errors.exit_code(raised)
            if code is None:
                raise
            error = raised
        failures = self.gather(error and [errors.message(error), errors.exit_code(error)])
        if error is not None:
            raise error
        for process_id, failure in enumerate(failures):
            if failure is not None:
                message, code = failure
                raise errors.OtherHostError(f"on {self.name(process_id)}: {message}", code)
        return results[0]

    def on_primary(self, work: Callable[[], None]) -> None:
        """Do `work` in the primary process only, and return once it is done."""
        self.together(lambda: work() if self.is_primary else None)

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do `work` in the primary process, then in all others.

        The others find its results in a shared cache; without one, each makes its own.
        """
        results = []
        for turn in (True, False):
            self.together(lambda turn=turn: self.is_primary == turn and results.append(work()))
        return results[0]

    @staticmethod
    def connect(mesh: jax.sharding.Mesh) -> None:
        """Open the connections along every axis of the mesh while all processes are waiting here.

        Otherwise the first program that needs a connection opens it. On CPUs (Gloo) the last
        process must then arrive within 30 s of the first, but compile times differ by more.
        """
        if jax.process_count() == 1:
            return
        names = mesh.axis_names
        ones = jax.device_put(
            np.ones(mesh.devices.shape), NamedSharding(mesh, PartitionSpec(*names))
        )
        for number in range(1, len(names) + 1):
            for axes in itertools.combinations(names, number):
                unsummed = PartitionSpec(*(None if name in axes else name for name in names))
                total = functools.partial(jax.lax.psum, axis_name=axes)
                add = jax.shard_map(
                    total, mesh=mesh, in_specs=PartitionSpec(*names), out_specs=unsummed
                )
                jax.block_until_ready(jax.jit(add)(ones))

    def require_same(self, what: str, facts: dict[str, Any], error: type[Exception]) -> None:
        """Raise `error` unless all processes pass the same `facts`.

        Its message names the keys, the values and the hosts.
        """
        first, *others = self.gather(facts)
        disagreements = [
            f"{key} is {here} on {self.name(0)} and {there} on {self.name(process_id)}"
            for process_id, other in enumerate(others, start=1)
            for key, (here, there) in differences(first, other).items()
        ]
        if disagreements:
            num_more = len(disagreements) - 8
            more = f", and {num_more} more" if num_more > 0 else ""
            raise error(f"the hosts disagree about {what}: {'; '.join(disagreements[:8])}{more}")


def whole(array: jax.Array) -> np.ndarray:
    """Return all of an array on every host; all processes call this in the same order."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


class StopVote:
    """Make all processes leave after the same step when one of them is asked to stop.

    The signals are combined by a maximum over all devices of the mesh. It is read one step later,
    when it has long been computed.
    """

    def __init__(self, mesh: jax.sharding.Mesh):
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._pending: jax.Array | None = None

    def __call__(self, own: signal.Signals | None) -> signal.Signals | None:
        """Return the signal that any process had received by the previous step.

        A run of one process gets its own signal at once.
        """
        if jax.process_count() == 1:
            return own
        previous = self._pending
        votes = np.full(len(self._sharding.addressable_devices), own or 0, np.int32)
        self._pending = self._largest(jax.make_array_from_process_local_data(self._sharding, votes))
        agreed = 0 if previous is None else int(previous)
        return signal.Signals(agreed) if agreed else None


def launched_as(experiment: Experiment, *, fresh: bool) -> dict[str, Any]:
    """Return what all processes of a run must share: its code, and its config without paths."""
    data = dataclasses.replace(
        experiment.data, cache_dir=None, source=without_paths(experiment.data.source)
    )
    config = to_json(dataclasses.replace(experiment, data=data))
    return config | {"--fresh": fresh, "source code": _source_hash(), "jax": jax.__version__}


def called_as(command: Any, folder: Path) -> dict[str, Any]:
    """Return what all processes of a command that reads `folder` must share.

    Args:
      command: the dataclass of its flags.
    """
    flags = {
        field.name: repr(getattr(command, field.name))
        for field in dataclasses.fields(command)
        if field.name != "distributed"
    }
    return flags | {"step": folder.name, "source code": _source_hash(), "jax": jax.__version__}


def _source_hash() -> str:
    """Hash all modules of the project, including changes that are not committed."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in ("configs", "data", "models", "zoo"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
