"""The flags that pick a model and then change its experiment."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast

import tyro

import configs
from configs.experiment import Experiment
from data.config import PaperMixture, without_code
from models.config import ConfigError, check
from zoo.command_line.cli import parse


class ModelCommand(Protocol):
    """The flags of a command that starts from a model."""

    @property
    def experiment(self) -> Experiment:
        """The run, with the flags' changes."""
        ...


Command = TypeVar("Command", bound=ModelCommand)

_ALL_MODELS = (
    f"`python -m zoo.describe` lists all {len(configs.MODELS | configs.CONTRAST_MODELS)} models"
)
_HELP_FLAGS = {"-h", "--help"}
_MODEL_OF_HELP = "palm_small"
"""The model whose defaults the help shows when none is named."""


@dataclass(frozen=True, kw_only=True)
class StartFlags:
    """The flags that are read first, because the defaults of all others depend on them."""

    model: str | None = None
    """A model of the zoo."""
    init_from: str | None = None
    """A checkpoint to start from."""


@dataclass(frozen=True)
class Start:
    """The experiment that the other flags change."""

    name: str
    experiment: Experiment
    flag: str | None
    """The flag that picked it; None if none did, and it only provides the help's defaults."""

    @property
    def description(self) -> str:
        """The sentence of the help that says where the defaults come from."""
        if self.flag is None:
            return (
                f"No --model is given: the defaults below are those of --model={self.name}. "
                f"{_ALL_MODELS}"
            )
        return f"{self.flag} sets the defaults below. {_ALL_MODELS}"


def parse_with_model(
    kind: Callable[[Experiment, str], Command],
    argv: list[str],
    *,
    prog: str,
    description: str,
    takes: Literal["decoders", "all"] = "decoders",
) -> Command:
    """Fill a command from flags that change the config picked by --model or --init-from.

    Without --model, `--init-from=CHECKPOINT` picks the config of the run that wrote the checkpoint.

    Args:
      kind: makes the command's defaults from the experiment and its name.
      takes: the models that the command knows; ConfigError for another one.
    """
    asks_help = not _HELP_FLAGS.isdisjoint(argv)
    flags, rest = tyro.cli(
        StartFlags,
        args=[argument for argument in argv if argument not in _HELP_FLAGS],
        prog=prog,
        return_unknown_args=True,
    )
    start = _pick(flags, asks_help=asks_help)
    if takes == "decoders":
        configs.check_decoder(start.experiment, start.flag or start.name)
    default = kind(dataclasses.replace(start.experiment, init_from=flags.init_from), start.name)
    command = parse(
        type(default),
        [*rest, *(["--help"] if asks_help else [])],
        prog=prog if start.flag is None else f"{prog} {start.flag}",
        description=f"{description}\n\n{start.description}",
        default=default,
    )
    experiment = _with_papers_sources(command.experiment, start.name)
    return dataclasses.replace(cast(Any, command), experiment=experiment)


def _with_papers_sources(experiment: Experiment, model: str) -> Experiment:
    """Return the experiment with the sources of the model's paper if --data.mixture=paper is given.

    Raises ConfigError if the model is in no paper of the zoo.
    """
    source = experiment.data.source
    if not isinstance(source, PaperMixture) or source.sources:
        return experiment
    check(
        model in configs.MODELS | configs.CONTRAST_MODELS,
        f"{source.setting} needs a model of the zoo, and this run is called {model!r}; write the "
        "parts of the mixture, such as --data.mixture c4_en=3 pg19=1",
    )
    sources = configs.module_of(configs.family_of(model)).PAPER.mixture
    source = dataclasses.replace(source, sources=sources)
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, source=source))


def _pick(flags: StartFlags, *, asks_help: bool) -> Start:
    if flags.model is not None:
        return Start(flags.model, configs.get(flags.model), f"--model={flags.model}")
    if flags.init_from is not None:
        from zoo.checkpoints import checkpoint  # imports JAX, which no other command line needs

        folder = checkpoint.find(flags.init_from, flag="--init-from")
        experiment = checkpoint.read_run(folder).experiment
        # The kernel was chosen for the devices of that run.
        execution = dataclasses.replace(experiment.execution, attention="auto")
        experiment = dataclasses.replace(
            experiment, data=without_code(experiment.data), execution=execution
        )
        return Start(checkpoint.run_name(folder), experiment, f"--init-from={folder}")
    if asks_help:
        return Start(_MODEL_OF_HELP, configs.get(_MODEL_OF_HELP), None)
    raise ConfigError(f"--model is missing; write for example --model=palm_small. {_ALL_MODELS}")
