"""The manifest of a checkpoint: the size and the SHA-256 of every file in the folder of one step.

It is written when all other files are complete, and before the folder gets the name of a finished
checkpoint: a checkpoint of this version has one. Those of earlier versions have none.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "manifest.json"
HAS_MANIFEST = {"manifest": FILE}
"""The entry of the run's record that says that the checkpoint has a manifest."""

_RECORD = "run/metadata"
_STEP_METADATA = "_CHECKPOINT_METADATA"
"""The metrics and times of the step. Orbax names both files."""
_NUM_THREADS = min(8, os.cpu_count() or 1)
"""Hashing releases Python's lock."""


@dataclass(frozen=True)
class Entry:
    """The content of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Damage:
    """A file that is not as the manifest says."""

    path: str
    """The path of the file inside the checkpoint."""
    expected: str
    found: str | None
    """None: the file is missing."""

    def __str__(self) -> str:
        return f"{self.path}: {self.expected} expected, {self.found or 'no such file'} found"


class _DamagedError(Exception):
    """A file that describes other files cannot be read."""

    def __init__(self, damage: Damage):
        super().__init__(str(damage))
        self.damage = damage


def write(folder: Path) -> None:
    """Write the manifest of all files below `folder`. Raises OSError if one cannot be read."""
    sizes = {path: stats.st_size for path, stats in _survey(folder).items()}
    with ThreadPoolExecutor(_NUM_THREADS) as executor:
        digests = executor.map(lambda path: _sha256(folder / path), sizes)
    files = {
        path: asdict(Entry(size, digest))
        for (path, size), digest in zip(sizes.items(), digests, strict=True)
    }
    with (folder / FILE).open("w", encoding="utf-8") as file:
        json.dump({"files": files, "sha256": _sha256_of_json(files)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def damages(folder: Path, *, hash_up_to: int | None = None) -> list[Damage]:
    """Return what is wrong with the files below `folder`.

    A checkpoint of an earlier version has no manifest: only links, missing items and unreadable
    metadata are found in it.

    Args:
      hash_up_to: hash only the files of at most this many bytes; None: all of them.
    """
    found = _survey(folder)
    no_files = [
        Damage(path, "a regular file", _kind(stats))
        for path, stats in found.items()
        if not stat.S_ISREG(stats.st_mode)
    ]
    if no_files:
        return no_files
    try:
        if FILE not in found:
            return list(_differences_from_earlier_version(folder))
        return list(_differences(folder, _read(folder), found, hash_up_to))
    except _DamagedError as error:
        return [error.damage]


def _differences(
    folder: Path,
    expected: dict[str, Entry],
    found: dict[str, os.stat_result],
    hash_up_to: int | None,
) -> Iterator[Damage]:
    """Yield the damages. A path of the manifest is only looked up among those that were found."""
    for path in sorted(found.keys() - expected.keys() - {FILE}):
        yield Damage(path, "no such file", f"{found[path].st_size:,} bytes")
    to_hash = []
    for path, entry in expected.items():
        size = f"{entry.bytes:,} bytes"
        if path not in found:
            yield Damage(path, size, None)
        elif found[path].st_size != entry.bytes:
            yield Damage(path, size, f"{found[path].st_size:,}")
        elif hash_up_to is None or entry.bytes <= hash_up_to:
            to_hash.append(path)

    def compare(path: str) -> Damage | None:
        try:
            digest = _sha256(folder / path)
        except OSError as error:
            return Damage(path, "a readable file", f"'{error.strerror}'")
        sha256 = expected[path].sha256
        return (
            None
            if digest == sha256
            else Damage(path, f"SHA-256 {sha256[:16]}...", f"{digest[:16]}...")
        )

    with ThreadPoolExecutor(_NUM_THREADS) as executor:
        yield from filter(None, executor.map(compare, to_hash))


def _differences_from_earlier_version(folder: Path) -> Iterator[Damage]:
    if HAS_MANIFEST.items() <= _read_object(folder, _RECORD).items():
        yield Damage(FILE, "a manifest", None)
    if (folder / _STEP_METADATA).exists():
        _read_object(folder, _STEP_METADATA)
    for name in ("params", "tokenizer"):
        if not (folder / name).is_dir():
            yield Damage(name, "a folder", None)


def _read(folder: Path) -> dict[str, Entry]:
    """Return the entry of each file by its path."""
    content = _read_object(folder, FILE)
    try:
        files = content["files"]
        if content["sha256"] == _sha256_of_json(files):
            return {path: Entry(**entry) for path, entry in files.items()}
    except (KeyError, TypeError, AttributeError):
        pass
    raise _DamagedError(Damage(FILE, "a manifest", "a damaged one"))


def _read_object(folder: Path, path: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = json.loads((folder / path).read_bytes())
    except FileNotFoundError as error:
        raise _DamagedError(Damage(path, "a file", None)) from error
    except OSError as error:
        raise _DamagedError(Damage(path, "a readable file", f"'{error.strerror}'")) from error
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _DamagedError(Damage(path, "a JSON object", "something else"))
    return value


def _survey(folder: Path) -> dict[str, os.stat_result]:
    """Return what lies below `folder`, folders apart, by relative path. No link is followed."""
    found = {}
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in files + links:
            if not _belongs_to_the_system(name):
                path = Path(parent) / name
                found[path.relative_to(folder).as_posix()] = path.lstat()
    return dict(sorted(found.items()))


def _belongs_to_the_system(name: str) -> bool:
    """Return True for a file that macOS or NFS adds by itself; nothing here reads them."""
    return name == ".DS_Store" or name.startswith(("._", ".nfs"))


def _kind(stats: os.stat_result) -> str:
    return "a symbolic link" if stat.S_ISLNK(stats.st_mode) else "a device, pipe or socket"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
