"""Train a model: `python -m zoo.train --model=palm_small`. The loop itself is in zoo/runs/loop.py."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from configs.experiment import Distributed, Experiment
from zoo import cli
from zoo.process import keep_freed_memory


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """The flags of `python -m zoo.train`, besides those of the experiment."""

    name: tyro.conf.Suppress[str]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    workdir: str
    """Folder of the run: config, metrics, plot, samples and checkpoints. A run that is already there
    goes on where it stopped."""
    fresh: bool = False
    """Delete the run in the workdir and start over."""
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0 uses the real devices."""
    distributed: Distributed = Distributed()
    json: bool = False
    """Print one JSON object at the end and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Train as the flags say; with --json print the summary."""
    command = cli.parse_with_model(
        lambda experiment, name: TrainCommand(
            name=name, experiment=experiment, workdir=f"runs/{name}"
        ),
        argv,
        prog="python -m zoo.train",
        description="Train a model; the same command again goes on where it stopped.",
    )

    from zoo.distribution import join as hosts
    from zoo.distribution.devices import configure
    from zoo.errors import is_out_of_memory
    from zoo.planning.remedies import out_of_memory_error
    from zoo.runs.loop import train
    from zoo.runs.report import RunReport

    configure(cache_dir=command.experiment.data.cache_dir, fake_devices=command.fake_devices)
    folder, report = Path(command.workdir), RunReport(cli.console, again=argv)
    everyone = hosts.join(command.distributed, folder, report)
    if not everyone.is_primary:
        report = RunReport(Console(quiet=True))
    try:
        summary = train(
            command.name, command.experiment, folder, report, everyone, fresh=command.fresh
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(error, command.experiment) from error
    if command.json and everyone.is_primary:
        print(json.dumps(summary))


if __name__ == "__main__":
    keep_freed_memory()
    cli.run(main)
