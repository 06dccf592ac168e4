"""run.json: what a run records about itself besides its config and its metrics."""

import importlib.metadata
import json
import os
import platform
import socket
import sys
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoo.common.serialize import check_types

RECORD_FILE = "run.json"
FINISHED = "finished"
_LIBRARIES = ("gpt-zoo", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def now() -> str:
    """Return the time in UTC, to the second, in the form of ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Start:
    """One process that trained the run: the first one, or one that resumed it."""

    first_step: int
    flags: list[str] | None
    """The flags of `python -m zoo.train`; None if a program called `train`."""
    devices: str
    """The accelerators, such as "8 x TPU v4 (tpu)"."""
    started_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    """The last time at which the page was written."""
    attention: str | None = None
    """The kernel that computes attention, and the reason for it."""
    outcome: str | None = None
    """"finished", or the message with which the process ended; None: it runs, or was killed."""
    warnings: list[str] = field(default_factory=list)
    host: str = field(default_factory=socket.gethostname)
    process_id: int = field(default_factory=os.getpid)
    machine: str = field(default_factory=lambda: f"{platform.platform()}, {os.cpu_count()} cores")
    versions: dict[str, str] = field(default_factory=lambda: versions())

    @property
    def wall_s(self) -> float:
        """Seconds from the start to the last time at which the page was written."""
        started, updated = map(datetime.fromisoformat, (self.started_at, self.updated_at))
        return (updated - started).total_seconds()

    def __post_init__(self):
        _ = self.wall_s  # raises for times of another form

    @property
    def is_running(self) -> bool:
        """True if the process has not ended; assumed for one on another host."""
        if self.outcome is not None:
            return False
        return self.host != socket.gethostname() or _is_alive(self.process_id)


@dataclass
class RunRecord:
    """The record of one run, over all processes that trained it."""

    name: str
    """The run's name in the output, most often the model's."""
    data_fingerprint: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, float] = field(default_factory=dict)
    """Bits per byte that compressors reach on the validation text, by name."""
    starts: list[Start] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """Seconds for which the run's processes were at work, compilation and saving included."""
        return sum(start.wall_s for start in self.starts)

    def write(self, workdir: Path) -> None:
        """Write run.json, whole or not at all."""
        write_whole(workdir / RECORD_FILE, json.dumps(asdict(self), indent=2) + "\n")


def read_record(workdir: Path) -> RunRecord | None:
    """Read run.json; None if there is none that can be read, as in a folder of an older version."""
    try:
        saved = json.loads((workdir / RECORD_FILE).read_text(encoding="utf-8"))
        starts = [Start(**_known(Start, start)) for start in saved.get("starts", ())]
        return RunRecord(**_known(RunRecord, saved | {"starts": starts}))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace the file's content; a reader sees the old one or the new one."""
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute."""
    found = {"python": sys.version.split()[0]}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the fields of this version. Raises TypeError for one of another type."""
    known = {f.name: values[f.name] for f in fields(kind) if f.name in values}
    check_types(kind, known)
    return known


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
