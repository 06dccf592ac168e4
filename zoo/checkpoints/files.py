"""What each process of a run keeps for itself in a checkpoint: files of its own, whole in memory."""

import dataclasses

import jax
import orbax.checkpoint as ocp


class HostFilesHandler(ocp.CheckpointHandler):
    """Writes and reads the files of this process: one folder a process.

    It is no asynchronous handler, so Orbax writes them before the next step may change anything.
    """

    def save(self, directory, args: "HostFilesSave"):
        folder = _folder(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in args.files.items():
            (folder / name).write_bytes(content)

    def restore(self, directory, args: "HostFilesRestore") -> dict[str, bytes]:
        del args
        folder = _folder(directory)
        paths = folder.iterdir() if folder.is_dir() else ()
        return {path.name: path.read_bytes() for path in paths}


@ocp.args.register_with_handler(HostFilesHandler, for_save=True)
@dataclasses.dataclass
class HostFilesSave(ocp.args.CheckpointArgs):
    """Save these files of this process with HostFilesHandler."""

    files: dict[str, bytes]


@ocp.args.register_with_handler(HostFilesHandler, for_restore=True)
@dataclasses.dataclass
class HostFilesRestore(ocp.args.CheckpointArgs):
    """Restore the files of this process with HostFilesHandler."""


def _folder(directory):
    return directory / f"process_{jax.process_index()}"
