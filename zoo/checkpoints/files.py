"""Files that a checkpoint keeps beside its arrays; they are small and handled whole in memory."""

import dataclasses
from typing import Literal, assert_never

import jax
import orbax.checkpoint as ocp

Owner = Literal["run", "process"]
"""run: one set of files for all processes, written by the first. process: one set per process."""


class FilesHandler(ocp.CheckpointHandler):
    """Write and read the files of a run or of this process.

    The handler is synchronous: Orbax writes the files before the next step can change anything.
    """

    def save(self, directory, args: "FilesSave"):
        """Write `args.files` into the item's folder."""
        if args.owner == "run" and jax.process_index() != 0:
            return
        folder = _folder(directory, args.owner)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in args.files.items():
            (folder / name).write_bytes(content)

    def restore(self, directory, args: "FilesRestore") -> dict[str, bytes]:
        """Return the content of every file by name; nothing if there are none.

        Where a run owns the files, Orbax's own marker file may be among them.
        """
        folder = _folder(directory, args.owner)
        paths = folder.iterdir() if folder.is_dir() else ()
        return {path.name: path.read_bytes() for path in paths if path.is_file()}


@ocp.args.register_with_handler(FilesHandler, for_save=True)
@dataclasses.dataclass
class FilesSave(ocp.args.CheckpointArgs):
    """Save `files` with FilesHandler."""

    files: dict[str, bytes]
    owner: Owner


@ocp.args.register_with_handler(FilesHandler, for_restore=True)
@dataclasses.dataclass
class FilesRestore(ocp.args.CheckpointArgs):
    """Restore the files of `owner` with FilesHandler."""

    owner: Owner


def _folder(directory, owner: Owner):
    match owner:
        case "run":
            return directory
        case "process":
            return directory / f"process_{jax.process_index()}"
        case _:
            assert_never(owner)
