"""Download and prepare a set: `python -m data.prepare --task=c4_en --data-dir=...`.

No other command uses the network, and a set of TensorFlow Datasets needs no other step before a
model trains on it. Nothing is downloaded twice.
"""

import contextlib
import json
import sys
from dataclasses import dataclass

from data import command
from data.config import Data, Task
from data.errors import DataConfigError, DataError
from data.seqio_tasks import tasks
from data.text import tfds_sets


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """The flags of `python -m data.prepare`."""

    data: Data = Data()
    json: bool = False
    """Print one JSON object at the end and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Prepare the set of a task, unless it is prepared already."""
    flags = command.parse(
        PrepareCommand, argv, prog="python -m data.prepare", description="Prepare a TFDS set."
    )
    task = flags.data.source
    if not isinstance(task, Task) or task.name not in tfds_sets.SETS:
        raise DataConfigError(
            f"{task.setting} needs no preparing; write --task with one of "
            f"{', '.join(tfds_sets.SETS)}"
        )
    try:
        prepared = tfds_sets.find_prepared(task.name, task.data_dir)
        command.report(f"{prepared.tfds_name} is in {prepared.data_dir} already")
    except DataError:
        _download_and_prepare(task.name, tfds_sets.data_folder(task.data_dir))
        prepared = tfds_sets.find_prepared(task.name, task.data_dir)
    sizes = ", ".join(f"{count:,} of {split}" for split, count in prepared.num_documents.items())
    command.report(f"documents to read: {sizes}")
    next_command = f"python -m zoo.train --model=palm_small --data.task={task.name}"
    if task.data_dir:
        next_command += f" --data.data-dir={task.data_dir}"
    command.report(f"next: {next_command}")
    if flags.json:
        print(
            json.dumps(
                {
                    "task": task.name,
                    "set": prepared.tfds_name,
                    "data_dir": prepared.data_dir,
                    "documents": dict(prepared.num_documents),
                }
            )
        )


def _download_and_prepare(task: str, data_dir: str) -> None:
    tfds_set = tfds_sets.SETS[task]
    command.report(f"preparing {tfds_set.name}:{tfds_set.version} in {data_dir}")
    builder = tasks.tfds_builder(f"{tfds_set.name}:{tfds_set.version}", data_dir)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the builder prints its progress
            builder.download_and_prepare()
    except ImportError as error:
        raise DataError(
            f"{tfds_set.name} is prepared with {error.name or 'apache_beam'}, which is not "
            "installed; install it (pip install apache-beam) and run the same command again"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
        raise DataError(
            f"{tfds_set.name} could not be prepared in {data_dir}: {reason}; run the same command "
            "again: what has been downloaded is kept"
        ) from error


if __name__ == "__main__":
    command.run(main)
