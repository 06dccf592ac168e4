"""Measure a checkpoint on text: `python -m zoo.evaluate --checkpoint=runs/palm_small`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from configs.experiment import Distributed, Mesh, Weights
from data.config import without_code
from data.flags import SourcesFlags
from models.config import ConfigError, check
from zoo.command_line import cli
from zoo.common.process import keep_freed_memory

if TYPE_CHECKING:
    from zoo.common.progress import Progress
    from zoo.distribution.hosts import Hosts


@dataclass(frozen=True, kw_only=True)
class TextFlags(SourcesFlags):
    """The texts to evaluate instead of what the run held out.

    A text is the validation split of a task or of a mixture, or all of the files, for which the
    5-gram is trained on the model's training text. Options that are not given are those of the
    run's text.
    """

    cache_dir: str | None = None
    """Folder of token caches. None: your cache folder, whatever the run used."""


@dataclass(frozen=True, kw_only=True)
class HarnessFlags:
    """Tasks of the LM Evaluation Harness (pip install 'gpt-zoo[lm-eval]') instead of text."""

    tasks: Annotated[
        tuple[str, ...], tyro.conf.arg(aliases=("--tasks",), metavar="TASK [TASK ...]")
    ] = ()
    """Tasks of the harness, such as hellaswag arc_easy or 'mmlu_*', also separated by commas. Text
    sets are named with --task instead. They run on one device."""
    include_path: Annotated[str | None, tyro.conf.arg(aliases=("--include-path",))] = None
    """A folder with your own tasks, as YAML files."""
    num_fewshot: Annotated[int | None, tyro.conf.arg(aliases=("--num-fewshot",))] = None
    """Examples before each question. None: as the task says."""
    limit: Annotated[int | None, tyro.conf.arg(aliases=("--limit",))] = None
    """Evaluate only the first questions of each task. None: all."""

    def names(self) -> list[str]:
        """Return the tasks that are named."""
        return [name for names in self.tasks for name in names.split(",") if name]


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """The flags of `python -m zoo.evaluate`."""

    checkpoint: str
    """The workdir of a run, one checkpoints/STEP folder, or an n-gram model of zoo.ngram."""
    step: int | Literal["best"] | None = None
    """The checkpoint of a workdir: its step, or best for the lowest validation loss. None: the
    newest."""
    data: TextFlags = TextFlags()
    harness: HarnessFlags = HarnessFlags()
    seq_len: int | None = None
    """Tokens in a row; rotary and relative positions allow more than the run's. None: the run's,
    and with --tasks the model's context_length."""
    stride: int | None = None
    """Tokens from the start of one row to that of the next. Below --seq-len the rows overlap: a row
    counts only the tokens that no row before it has, so that all but the first are predicted from
    at least seq_len - stride tokens. It costs seq_len / stride as much. None: --seq-len."""
    batch_tokens: int | None = None
    """Tokens evaluated at a time, over all devices; fewer need less memory. None: as in the run."""
    max_tokens: int | None = None
    """Stop after this many tokens of each text; the baselines are those of all of it. None: all."""
    weights: Weights = "run"
    """run: in the precision of the run. int8: as zoo.sample --weights=int8 holds them; a text is
    then evaluated with both."""
    mesh: Mesh = Mesh()
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0: use the real devices."""
    distributed: Distributed = Distributed()
    json: bool = False
    """Print one JSON object, or a list of one for each text if several are named, and nothing else
    on stdout."""


def main(argv: list[str]) -> None:
    """Evaluate a checkpoint on text or on tasks, and print the result."""
    command = cli.parse(
        EvaluateCommand,
        argv,
        prog="python -m zoo.evaluate",
        description="Measure a checkpoint on the text that its run held out, on other texts, or on "
        "tasks of the LM Evaluation Harness.",
    )

    tasks = command.harness.names()
    if tasks:
        _check_only_tasks(command)

    from zoo.common.progress import Progress
    from zoo.ngram.files import is_ngram

    if is_ngram(command.checkpoint):
        _evaluate_ngram(command, Progress(cli.console))
        return

    from zoo.checkpoints import checkpoint
    from zoo.distribution.devices import configure
    from zoo.distribution.hosts import Hosts

    configure(cache_dir=command.data.cache_dir, fake_devices=command.fake_devices)
    from zoo.contrasts.loading import is_contrast

    report = Progress(cli.console)
    folder = checkpoint.find(command.checkpoint, step=command.step)
    hosts = Hosts() if tasks else _join(command, folder, report)
    if not hosts.is_primary:
        report = Progress(Console(quiet=True))
    if is_contrast(folder):
        _evaluate_contrast(command, folder, report)
    elif tasks:
        _evaluate_tasks(command, folder, tasks, report)
    else:
        _evaluate_texts(command, folder, hosts, report)


def _join(command: EvaluateCommand, folder: Path, report: "Progress") -> "Hosts":
    """Connect the processes. Call this before anything is read: Orbax asks JAX for its devices."""
    from zoo.distribution.hosts import called_as
    from zoo.distribution.join import join

    hosts = join(command.distributed, None, report)
    hosts.require_same("what to evaluate", called_as(command, folder), ConfigError)
    return hosts


def _evaluate_texts(
    command: EvaluateCommand, folder: Path, hosts: "Hosts", report: "Progress"
) -> None:
    from zoo.checkpoints import checkpoint
    from zoo.inference.evaluation import evaluate_checkpoint
    from zoo.inference.findings import on_one_text, on_several_texts, summary
    from zoo.planning.placement import Evaluating, decide

    trained_with = checkpoint.read_run(folder).experiment.data
    measured = evaluate_checkpoint(
        folder,
        sources=command.data.resolve(without_code(trained_with).source),
        cache_dir=command.data.cache_dir,
        seq_len=command.seq_len,
        stride=command.stride,
        batch_tokens=command.batch_tokens,
        max_tokens=command.max_tokens,
        mesh=command.mesh,
        weights=command.weights,
        place=lambda experiment: decide(
            experiment, Evaluating(command.weights), report=report.line
        ),
        hosts=hosts,
        report=report,
    )
    if not hosts.is_primary:
        return
    if command.json:
        _print_json([summary(each) for each in measured])
    elif len(measured) == 1:
        print(on_one_text(measured[0], is_cut=command.max_tokens is not None))
    else:
        print(on_several_texts(measured))


def _evaluate_contrast(command: EvaluateCommand, folder: Path, report: "Progress") -> None:
    from zoo.checkpoints import checkpoint
    from zoo.contrasts.evaluation import evaluate_contrast

    _check_unchanged(command, "has an encoder", "step", "data", "max_tokens", "json")
    source = without_code(checkpoint.read_run(folder).experiment.data).source
    found = evaluate_contrast(
        folder,
        sources=command.data.resolve(source),
        cache_dir=command.data.cache_dir,
        max_tokens=command.max_tokens,
        report=report,
    )
    if command.json:
        _print_json([each.to_json() for each in found])
    else:
        print("\n".join(each.description() for each in found))


def _print_json(summaries: list[dict[str, Any]]) -> None:
    print(json.dumps(summaries[0] if len(summaries) == 1 else summaries))


def _check_unchanged(command: EvaluateCommand, kind: str, *flags: str) -> None:
    """Raise ConfigError if another flag than `flags` is given for a checkpoint of that kind."""
    given = {name: getattr(command, name) for name in flags}
    listed = ", ".join(f"--{name.replace('_', '-')}" for name in flags)
    check(
        command == EvaluateCommand(checkpoint=command.checkpoint, **given),
        f"--checkpoint={command.checkpoint} {kind}, for which there is only {listed}; leave the "
        "other flags out",
    )


def _evaluate_ngram(command: EvaluateCommand, report: "Progress") -> None:
    from zoo.inference.evaluation import description
    from zoo.ngram.model import NgramModel

    _check_unchanged(command, "is an n-gram model", "data", "max_tokens", "json")
    model = NgramModel.read(Path(command.checkpoint).expanduser())
    found = []
    for source in command.data.resolve(model.data.source) or [None]:
        text = model.load_text(source, command.max_tokens, command.data.cache_dir, report)
        found.append((text, model.evaluate(text)))
    if command.json:
        _print_json([{"checkpoint": command.checkpoint, **model.to_json(*each)} for each in found])
        return
    context = f"each from the {model.ngram.order - 1} before it"
    for text, evaluation in found:
        print(description(text, evaluation, context, is_cut=command.max_tokens is not None))


def _evaluate_tasks(
    command: EvaluateCommand, folder: Path, tasks: list[str], report: "Progress"
) -> None:
    from zoo.inference import harness_tasks

    results = harness_tasks.evaluate_tasks(
        folder,
        tasks,
        include_path=command.harness.include_path,
        num_fewshot=command.harness.num_fewshot,
        limit=command.harness.limit,
        max_length=command.seq_len,
        batch_tokens=command.batch_tokens,
        weights=command.weights,
        report=report,
    )
    if command.json:
        print(json.dumps(harness_tasks.summary(folder, results), default=str))
    else:
        print(harness_tasks.table(results))


def _check_only_tasks(command: EvaluateCommand) -> None:
    """Refuse flags of texts beside --tasks."""
    given = {
        "--data.*": command.data != TextFlags(),
        "--stride": command.stride is not None,
        "--max-tokens": command.max_tokens is not None,
        "--mesh.*": command.mesh != Mesh(),
        "--distributed.*": command.distributed != Distributed(),
    }
    for flag, is_given in given.items():
        check(
            not is_given,
            f"{flag} is for text, and --tasks names tasks of the LM Evaluation Harness; leave one "
            "of them out (--task, without s, names text)",
        )


if __name__ == "__main__":
    keep_freed_memory()
    cli.run(main)
