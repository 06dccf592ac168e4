"""From argv to a config, and from an exception to an exit code."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro
from rich.console import Console

import configs
from configs.experiment import Experiment
from data.command import expand_short_flags
from models.config import ConfigError
from zoo.process import AbortHandler

console = Console(stderr=True, highlight=False)
"""Logs and progress go to stderr; stdout is for what a command produces."""

Command = TypeVar("Command")

_ALL_MODELS = f"`python -m zoo.describe` lists all {len(configs.MODELS)} models"


def parse(kind: type[Command], argv: list[str], *, prog: str, description: str) -> Command:
    """Fill the dataclass `kind` from flags. A mistake prints what is wrong and exits with 2."""
    return tyro.cli(tyro.conf.AvoidSubcommands[kind], args=argv, prog=prog, description=description)


def parse_with_model(
    kind: Callable[[Experiment, str], Command], argv: list[str], *, prog: str, description: str
) -> Command:
    """Like `parse`, after `--model=NAME` has picked the config that the other flags change; without it
    `--init-from=CHECKPOINT` picks the one of the run that wrote the checkpoint.

    Args:
      kind: makes the command's defaults from the experiment and its name.
    """
    picker = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    picker.add_argument("--model")
    picker.add_argument("--init-from", "--init_from")
    picked, rest = picker.parse_known_args(argv)
    if picked.model is not None or picked.init_from is None:
        asks_help = bool({"-h", "--help"} & set(rest))
        name = picked.model or ("palm_small" if asks_help else None)
        if name is None:
            raise ConfigError(
                f"--model is missing; write for example --model=palm_small. {_ALL_MODELS}"
            )
        experiment, source = configs.get(name), f"--model={name}"
    else:
        from zoo.checkpoints import checkpoint  # imports JAX, which no other command line needs

        folder = checkpoint.find(picked.init_from, flag="--init-from")
        name = checkpoint.run_name(folder)
        experiment, source = checkpoint.read_run(folder).experiment, f"--init-from={folder}"
    default = kind(dataclasses.replace(experiment, init_from=picked.init_from), name)
    description += f"\n\n{source} sets the defaults below. {_ALL_MODELS}"
    return tyro.cli(
        tyro.conf.AvoidSubcommands[type(default)],
        default=default,
        args=[
            "--mesh.auto" if flag == "--mesh=auto" else flag for flag in expand_short_flags(rest)
        ],
        prog=f"{prog} {source}",
        description=description,
    )


def run(main: Callable[[list[str]], None]) -> None:
    """Run a command's `main` on argv and exit with the code of zoo.errors."""
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        _exit("stopped", 130)
    except Exception as error:
        # Imported late: it is needed only when something went wrong.
        from zoo.errors import exit_code, is_lost_host, message

        code = exit_code(error)
        if code is None:
            AbortHandler.expect(1)
            raise
        _exit(message(error), code, at_once=is_lost_host(error))


def _exit(message: str, code: int, *, at_once: bool = False) -> None:
    sys.unraisablehook = lambda _: None  # what ends at exit may fail again for the same reason
    console.print(f"[bold red]{'error' if code < 75 else 'stopped'}:[/] ", end="")
    console.print(message, markup=False, soft_wrap=True)
    AbortHandler.expect(code)
    if at_once:  # no farewell to processes that are gone
        os._exit(code)
    sys.exit(code)
