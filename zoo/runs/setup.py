"""Everything about a run that is decided before its first step."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import jax

from configs.experiment import Experiment
from configs.parts.objectives import NextToken
from data.errors import DataError
from data.text.corpus import SavedFiles
from data.training_data import TrainingData, load
from data.vocabularies.hugging_face import TokenIds
from models.config import ConfigError, check
from models.model import num_params
from zoo.checkpoints import checkpoint, recovery
from zoo.checkpoints.history import History
from zoo.checkpoints.recovery import Survey
from zoo.common import folders
from zoo.common.errors import WorkdirError
from zoo.distribution.devices import (
    describe_devices,
    unused_accelerator,
)
from zoo.distribution.hosts import Hosts, launched_as
from zoo.runs import workdir
from zoo.runs.budget import Budget, with_budget
from zoo.runs.devices import on_these_devices
from zoo.runs.report import RunReport
from zoo.runs.resume import check_same_architecture, check_same_data, check_same_experiment
from zoo.training.objectives import check_ids
from zoo.training.program import Program
from zoo.training.step import TrainState


@dataclass(frozen=True, eq=False)
class Setup:
    """The decisions of a run: its program, its text and its starting point."""

    name: str
    """The run's name in the output, most often the model's."""
    folder: Path
    """The workdir."""
    program: Program
    data: TrainingData
    baselines: dict[str, float]
    """Bits per byte that compressors reach on the validation text, by name; none for a model that
    gives a text no probability."""
    resume_from: Path | None
    """The checkpoint of this run to start from. None: step 0."""
    stream: SavedFiles | None
    """The position in streamed text that `resume_from` holds."""
    num_params: int
    flops_per_token: float
    history: History
    """The run's events until its first step."""
    deadline_s: float = math.inf
    """The reading of `time.monotonic` at which the run saves its state and ends."""
    discarded_batches: int = 0
    """Batches of a stream to discard after `stream`: those that a rewind has just left out."""

    @property
    def experiment(self) -> Experiment:
        """The experiment with its dtype and its mesh decided."""
        return self.program.experiment


def prepare(
    name: str,
    experiment: Experiment,
    folder: Path,
    report: RunReport,
    hosts: Hosts,
    *,
    fresh: bool,
    budget: Budget | None = None,
) -> Setup:
    """Decide everything, report it, and make the workdir ready.

    With `fresh`, a run in the folder is deleted once the new one is known to be possible. A
    `budget` replaces the experiment's `num_steps`. Raises ConfigError, DataError, CheckpointError
    or WorkdirError for what a user can correct; on several hosts also OtherHostError.
    """
    launch = launched_as(experiment, fresh=fresh) | {"budget": repr(budget)}
    hosts.require_same("what to run", launch, ConfigError)
    hosts.on_primary(lambda: workdir.prepare(folder))
    report.line(f"devices: {describe_devices()}, jax {jax.__version__}")
    if complaint := unused_accelerator():
        report.warn(complaint)

    experiment, mesh = on_these_devices(experiment, report, hosts)
    program = Program(experiment, mesh)
    hosts.connect(mesh)
    report.line(f"workdir: {folder}")

    found = Survey(None, {}, {}) if fresh else _survey(folder, hosts)
    resume_from = _newest_checkpoint(found, experiment, folder, report)
    data = _load_data(program, folder, resume_from, report, hosts)
    experiment = with_budget(experiment, budget, data)
    program = Program(experiment, mesh)
    size = num_params(experiment.model)
    flops_per_token = experiment.train_flops_per_token
    report.model(name, experiment, size, flops_per_token * experiment.num_tokens)
    stream, history = None, History()
    if resume_from is not None:
        history = checkpoint.read_history(resume_from)
        allow_change = experiment.data.allow_change
        stream = _saved_stream(data, folder, resume_from, report, hosts, allow_change=allow_change)
    check_ids(experiment.objective, data.vocabulary, experiment.seq_len)
    gives_probability = isinstance(experiment.objective, NextToken)
    baselines = hosts.in_turn(data.baselines) if gives_probability else {}
    hosts.on_primary(lambda: _make_room(program, folder, found, fresh=fresh))
    return Setup(
        name, folder, program, data, baselines, resume_from, stream, size, flops_per_token, history
    )


def go_back(setup: Setup, step: int, history: History, report: RunReport, hosts: Hosts) -> Setup:
    """Return the setup that continues from an earlier checkpoint, or from step 0 if that is `step`.

    Checkpoints of later steps are deleted. `history` says how many batches are left out then.
    Raises CheckpointError, and deletes nothing, if the checkpoint is damaged.
    """
    resume_from, stream, before = None, None, History()
    if step > 0:
        resume_from = folder = (setup.folder / checkpoint.FOLDER / str(step)).absolute()
        hosts.on_primary(lambda: recovery.verify(folder))
    hosts.on_primary(lambda: _delete_after(setup.folder, step))
    if resume_from is not None:
        allow_change = setup.experiment.data.allow_change
        stream = _saved_stream(
            setup.data, setup.folder, resume_from, report, hosts, allow_change=allow_change
        )
        before = checkpoint.read_history(resume_from)
    return dataclasses.replace(
        setup,
        resume_from=resume_from,
        stream=stream,
        history=history.with_evaluations_of(before),
        discarded_batches=history.skipped_batches - before.skipped_batches,
    )


def _delete_after(folder: Path, step: int) -> None:
    with folders.writing(folder):
        checkpoint.delete_after(folder, step)


def initial_state(setup: Setup) -> TrainState:
    """The saved state, or that of step 0 with random or given parameters, sharded over the mesh."""
    program, init_from = setup.program, setup.experiment.init_from
    if setup.resume_from is not None:
        return checkpoint.read_state(setup.resume_from, program.state)
    if init_from is None:
        return program.init()
    return program.start(checkpoint.read_params_like(checkpoint.find(init_from), program.params))


def _survey(folder: Path, hosts: Hosts) -> Survey:
    """Verify the checkpoints in the primary process, for all processes."""
    steps = checkpoint.saved_steps(folder)
    hosts.require_same("the workdir", {"newest checkpoint": steps[-1:]}, WorkdirError)
    surveys = []
    hosts.on_primary(lambda: surveys.append(recovery.survey(folder)))
    (first,) = hosts.gather([dataclasses.asdict(survey) for survey in surveys])[0]
    return Survey(**first)


def _newest_checkpoint(
    found: Survey, experiment: Experiment, folder: Path, report: RunReport
) -> Path | None:
    """Return the checkpoint to resume from; None if the run starts from step 0.

    Raises ConfigError if it belongs to another experiment or holds imported weights.
    """
    for name, damage in found.half_deleted.items():
        report.warn(
            f"the checkpoint of step {name} is deleted: it lacks a file ({damage}), as a deletion "
            "that was interrupted leaves it"
        )
    for name, damage in found.damaged.items():
        report.warn(
            f"the checkpoint of step {name} is damaged: {damage}; the run resumes from step "
            f"{found.newest}; delete {checkpoint.FOLDER}/{recovery.damaged_name(name)}, as the "
            "damaged one is now called, once you have looked at it"
        )
    if found.newest is None:
        return None
    newest = checkpoint.find(folder / checkpoint.FOLDER / found.newest)
    saved = checkpoint.read_run(newest)
    if saved.imported_from is not None:
        raise ConfigError(
            f"--workdir={folder} holds imported weights, not a run; train them with "
            f"--init-from={folder} and another --workdir"
        )
    check_same_experiment(saved.experiment, experiment, folder)
    return newest


def _load_data(
    program: Program, folder: Path, resume_from: Path | None, report: RunReport, hosts: Hosts
) -> TrainingData:
    """Load the text, encoded with the vocabulary of the checkpoint that the run starts from."""
    experiment, vocabulary = program.experiment, None
    if resume_from is not None:
        vocabulary = checkpoint.read_vocabulary(resume_from)
    elif experiment.init_from is not None:
        init_from = checkpoint.find(experiment.init_from, flag="--init-from")
        check(
            not init_from.is_relative_to(folder.absolute()),
            f"--init-from={experiment.init_from} lies in --workdir={folder}, where --fresh would "
            "delete it; name another --workdir",
        )
        hosts.on_primary(lambda: recovery.verify(init_from))
        model = checkpoint.read_run(init_from).experiment.model
        check_same_architecture(model, experiment.model, experiment.init_from)
        vocabulary = checkpoint.read_vocabulary(init_from)
        if isinstance(vocabulary, TokenIds):
            check(
                experiment.data.vocabulary is not None,
                f"--init-from={experiment.init_from} was imported without a tokenizer; name the "
                "vocabulary of its ids with --data.vocabulary",
            )
            vocabulary = None
    data = hosts.in_turn(
        lambda: load(
            experiment.data,
            vocab_size=experiment.model.vocab_size,
            seq_len=experiment.seq_len,
            sizes=experiment.batch_sizes,
            rows=program.batch_layout.rows,
            vocabulary=vocabulary,
            report=report.line,
        )
    )
    hosts.require_same("the text", data.fingerprint, DataError)
    return data


def _saved_stream(
    data: TrainingData,
    folder: Path,
    resume_from: Path,
    report: RunReport,
    hosts: Hosts,
    *,
    allow_change: bool,
) -> SavedFiles | None:
    """Read the position in streamed text; None if an allowed change of the text voids it."""
    saved = checkpoint.read_run(resume_from)
    note = check_same_data(saved, data.fingerprint, folder, allow_change=allow_change)
    if note is not None:
        report.warn(note)
        return None
    return hosts.together(lambda: checkpoint.read_stream(resume_from))


def _make_room(program: Program, folder: Path, found: Survey, *, fresh: bool) -> None:
    """Clear away what is no checkpoint, check the disk's free space and, with `fresh`, delete the
    run in the folder.

    Raises WorkdirError, and deletes no checkpoint, unless those of the run will fit.
    """
    with folders.writing(folder):
        recovery.clear_away(folder, found)
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(program.state))
    num_saved = len(checkpoint.saved_steps(folder))
    # The newest ones, the best one, and the one that is being written.
    num_missing = _num_kept(program.experiment) + 2 - (0 if fresh else num_saved)
    freed = folders.num_bytes(folder / checkpoint.FOLDER) if fresh else 0
    folders.check_space(folder, num_missing, num_bytes, freed_bytes=freed)
    if fresh:
        workdir.clear(folder)


def _num_kept(experiment: Experiment) -> int:
    """Return how many of the newest checkpoints stay: `keep`, or as many as a rewind needs."""
    if experiment.divergence.action != "rewind":
        return experiment.keep
    return max(experiment.keep, -(-experiment.divergence.rewind_steps // experiment.save_every) + 1)
