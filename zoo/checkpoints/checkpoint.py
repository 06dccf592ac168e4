"""A checkpoint is all that is needed to resume a run, or to sample, in one folder per step.

    WORKDIR/checkpoints/STEP/params      the parameters
                             training    the step and the optimizer's state
                             run         the resolved config, the data's fingerprint, data counters,
                                         the run's events
                             tokenizer   the vocabulary's files, which other tools can read
                             stream      streamed text only: the position of each process in it
                             metrics     the validation loss, if this state was evaluated
                             manifest.json   the size and the SHA-256 of every file

Sampling needs neither `training`, which for Adam is twice the size of the parameters, nor `stream`.
Imported weights have neither. This module finds and reads checkpoints; writer.py writes them, and
recovery.py verifies them.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import SingleDeviceSharding

from configs.experiment import Experiment
from data.errors import DataError
from data.vocabularies.files import FILES, vocabulary_from_files
from data.vocabularies.vocabulary import Vocabulary
from models.model import abstract_params
from zoo.checkpoints.files import FilesRestore
from zoo.checkpoints.history import History
from zoo.common import serialize
from zoo.common.errors import CheckpointError, is_out_of_memory
from zoo.distribution.sharding import with_shardings
from zoo.training.divergence import Recent
from zoo.training.step import TrainState

FOLDER = "checkpoints"
"""The folder inside a workdir that holds one folder per step."""

Step = int | Literal["best"]
"""A step of a workdir by its number, or the one with the lowest validation loss."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The run that wrote a checkpoint, as recorded in it."""

    experiment: Experiment
    data_fingerprint: dict[str, Any]
    imported_from: dict[str, Any] | None = None
    """For imported weights: their origin, and how they were compared with it."""

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        return {
            "experiment": serialize.to_json(self.experiment),
            "data_fingerprint": self.data_fingerprint,
            "imported_from": self.imported_from,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Run":
        """Return the run that `to_json` wrote; other keys are ignored.

        Raises CheckpointError if it is damaged, ConfigError if its config is of another version.
        """
        match value:
            case {"experiment": dict(config), "data_fingerprint": dict(fingerprint), **rest}:
                experiment = serialize.from_json(config)
                imported_from = rest.get("imported_from")
                if isinstance(experiment, Experiment) and isinstance(imported_from, dict | None):
                    return cls(experiment, fingerprint, imported_from)
        raise CheckpointError("the record of the checkpoint's run is damaged")


# --- find --------------------------------------------------------------------------------------


def find(path: str | Path, *, step: Step | None = None, flag: str = "--checkpoint") -> Path:
    """Return the folder of one step: `path` itself, or that of `step` in the workdir `path`.

    Without a `step`, it is the newest. Raises CheckpointError, which names `flag`, if there is
    none.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"{flag}={path}: there is no such folder; name the --workdir of a run or one of its "
            "checkpoints/STEP folders"
        )
    if (path / "params").is_dir():
        if step is not None:
            raise CheckpointError(
                f"--step={step} picks a checkpoint of a workdir, and {flag}={path} is one "
                "checkpoint; leave --step out, or name the workdir"
            )
        return path.absolute()
    steps = saved_steps(path)
    if not steps:
        raise CheckpointError(
            f"{path} holds no finished checkpoint; train one with python -m zoo.train "
            f"--model=palm_small --workdir={path}"
        )
    if step == "best":
        step = _best_step(path, steps)
    if step is not None and step not in steps:
        raise CheckpointError(
            f"--step={step} is not among the checkpoints of {path}, which are of the steps "
            f"{', '.join(map(str, steps))}; name one of these, or best"
        )
    return (path / FOLDER / str(steps[-1] if step is None else step)).absolute()


def validation_loss(folder: Path) -> float | None:
    """Return the validation loss of one step's folder; None if it was saved without one."""
    path = folder / "metrics" / "metrics"
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError("not a regular file")
        return float(json.loads(path.read_text())["eval/loss"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the validation loss in {folder} is damaged ({error!r}); name the step with --step=N"
        ) from error


def _best_step(workdir: Path, steps: list[int]) -> int:
    losses = {step: validation_loss(workdir / FOLDER / str(step)) for step in steps}
    evaluated = [(loss, step) for step, loss in losses.items() if loss is not None]
    if not evaluated:
        raise CheckpointError(
            f"--step=best: no checkpoint of {workdir} has a validation loss (steps "
            f"{', '.join(map(str, steps))}); name one of them, or train with an --eval-every "
            "that divides --save-every"
        )
    return min(evaluated)[1]


def run_name(folder: Path) -> str:
    """Return the name of the run that wrote the checkpoint in `folder`: the name of its workdir."""
    return folder.parents[1].name if folder.parent.name == FOLDER else folder.name


def saved_steps(workdir: Path) -> list[int]:
    """Return the steps of the finished checkpoints in `workdir`, in increasing order."""
    folder = workdir / FOLDER
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    # The name of an unfinished checkpoint is not a number.
    return sorted(int(name) for name in names if name.isdecimal())


def delete_after(workdir: Path, step: int) -> None:
    """Delete the checkpoints of later steps, the newest first.

    Each first gets the name of an unfinished one: what a crash leaves is never taken for whole.
    """
    for later in reversed([saved for saved in saved_steps(workdir) if saved > step]):
        folder = workdir / FOLDER / str(later)
        unfinished = folder.with_name(f"{later}.orbax-checkpoint-tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        folder.rename(unfinished)
        shutil.rmtree(unfinished)


# --- read --------------------------------------------------------------------------------------
# Each function takes the folder of one step and raises CheckpointError if it is damaged.


def read_run(folder: Path) -> Run:
    """Read the record of the run that wrote the checkpoint."""
    try:
        return Run.from_json(_read_record(folder))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the record of the run in {folder} is damaged ({error!r}); use another step's folder"
        ) from error


def read_history(folder: Path) -> History:
    """Read the events of the run until this checkpoint; none in one of an earlier version."""
    try:
        return History.from_json(_read_record(folder).get("history", {}))
    except (TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the events of the run in {folder} are damaged ({error!r}); use another step's folder"
        ) from error


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read the vocabulary that the model was trained with."""
    files = _read(folder, "tokenizer", FilesRestore(owner="run"))
    known = {name: files[name] for name in FILES if name in files}
    try:
        return vocabulary_from_files(known)
    except DataError as error:
        raise CheckpointError(f"the tokenizer in {folder} is damaged: {error}") from error


def read_stream(folder: Path) -> dict[str, bytes]:
    """Read the files from which this process resumes its streamed text; {} if nothing streams."""
    if not (folder / "stream").is_dir():
        return {}
    return _read(folder, "stream", FilesRestore(owner="process"))


def read_params(
    folder: Path, experiment: Experiment, shardings: nnx.State | None = None
) -> nnx.State:
    """Read the parameters, whatever mesh they were saved on.

    Args:
      shardings: the layout of every parameter; None puts them all on the first local device.
    """
    target = abstract_params(experiment.model, experiment.param_dtype)
    if shardings is None:
        # A checkpoint that several processes wrote records no sharding that one process could use.
        one_device = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: one_device, target)
    return read_params_like(folder, with_shardings(target, shardings))


def read_params_like(folder: Path, target: nnx.State) -> nnx.State:
    """Read the parameters, each with the shape, dtype and sharding of the abstract `target`."""
    return _read(folder, "params", ocp.args.StandardRestore(target))


def read_param(folder: Path, path: tuple[Any, ...]) -> np.ndarray:
    """Read the one parameter at `path` to the host, in the precision in which it was saved."""
    tree: Any = {"value": 0}
    for key in reversed(path):
        tree = {key: tree}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    args = ocp.args.PyTreeRestore(item=tree, restore_args=as_numpy, partial_restore=True)
    (value,) = jax.tree.leaves(_read(folder, "params", args))
    return value


def read_state(folder: Path, target: TrainState) -> TrainState:
    """Read the whole state, each array with the shape, dtype and sharding of the abstract `target`.

    The mesh may differ from the one that the state was saved on.
    """
    params = read_params_like(folder, target.params)
    abstract = {"step": target.step, "opt": target.opt_state}
    training = _read(folder, "training", ocp.args.StandardRestore(abstract))
    recent = Recent.from_json(_read_record(folder).get("recent", {}), target.recent)
    return TrainState(training["step"], params, training["opt"], recent)


def _read_record(folder: Path) -> dict[str, Any]:
    """Read the record of the run, which tells a command what it needs before it verifies the rest.

    Reading a pipe in its place would never end, and a link may lead out of the folder.
    """
    path = folder / "run" / "metadata"  # Orbax names the file
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CheckpointError(
            f"{path} is not a regular file: the checkpoint is damaged; use another step's folder"
        )
    return _read(folder, "run", ocp.args.JsonRestore())


def _read(folder: Path, item: str, args: ocp.args.CheckpointArgs) -> Any:
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(folder, ocp.args.Composite(**{item: args}))[item]
    except Exception as error:  # Orbax raises a bare Exception for an array that is cut short.
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot read {item} of the checkpoint {folder}: it is damaged, cut short or of "
            f"another model ({reason[:200]}); use another step's folder, or start over with --fresh"
        ) from error
