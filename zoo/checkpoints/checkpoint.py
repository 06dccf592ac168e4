"""Checkpoints: everything that is needed to go on, or to sample, in one folder per step.

    WORKDIR/checkpoints/STEP/params      the parameters
                             training    step and optimizer state
                             run         the resolved config, the data's fingerprint, the evaluation
                             tokenizer   the vocabulary's files, which other tools read
                             stream      of streamed text: where each process stood in its share

Sampling reads neither `training`, which for Adam is twice the size of the parameters, nor `stream`.
Imported weights have none.
"""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from configs.experiment import Experiment
from data.errors import DataError
from data.vocabularies.files import FILES, vocabulary_from_files
from data.vocabularies.vocabulary import Vocabulary
from models.transformer import abstract_params
from zoo import serialize
from zoo.checkpoints.files import HostFilesRestore, HostFilesSave
from zoo.distribution.sharding import with_shardings
from zoo.errors import CheckpointError, is_lost_host, is_out_of_memory
from zoo.training.step import TrainState

FOLDER = "checkpoints"


class TokenizerHandler(ocp.CheckpointHandler):
    """Writes and reads the vocabulary's files."""

    def save(self, directory, args: "TokenizerSave"):
        if jax.process_index() == 0:
            for name, content in args.files.items():
                (directory / name).write_bytes(content)

    def restore(self, directory, args: "TokenizerRestore") -> dict[str, bytes]:
        del args
        found = {name: directory / name for name in FILES}
        return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


@ocp.args.register_with_handler(TokenizerHandler, for_save=True)
@dataclasses.dataclass
class TokenizerSave(ocp.args.CheckpointArgs):
    """Save these files with TokenizerHandler."""

    files: dict[str, bytes]


@ocp.args.register_with_handler(TokenizerHandler, for_restore=True)
@dataclasses.dataclass
class TokenizerRestore(ocp.args.CheckpointArgs):
    """Restore the files with TokenizerHandler."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a checkpoint says about the run that wrote it."""

    experiment: Experiment
    data_fingerprint: dict[str, Any]
    imported_from: dict[str, Any] | None = None
    """Of imported weights: where they came from, and how they were compared with that."""

    def to_json(self) -> dict[str, Any]:
        return {
            "experiment": serialize.to_json(self.experiment),
            "data_fingerprint": self.data_fingerprint,
            "imported_from": self.imported_from,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Run":
        return cls(
            serialize.from_json(value["experiment"]),
            value["data_fingerprint"],
            value.get("imported_from"),
        )


class CheckpointWriter:
    """Saves the states of one run in the background; keeps the newest few and the best."""

    def __init__(self, workdir: Path, run: Run, vocabulary: Vocabulary):
        self._run = run
        self._vocabulary = vocabulary
        keep = AnyPreservationPolicy(
            [
                LatestN(run.experiment.keep),
                BestN(
                    get_metric_fn=lambda metrics: -metrics["eval/loss"],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        # What cannot be written is raised; asyncio would log each array of it once more.
        for logger in ("absl", "asyncio"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        self._manager = ocp.CheckpointManager(
            (workdir / FOLDER).absolute(),
            options=ocp.CheckpointManagerOptions(preservation_policy=keep),
        )

    def save(
        self,
        state: TrainState,
        step: int,
        evaluation: dict[str, float] | None,
        data_counters: dict[str, float],
        stream: dict[str, bytes],
    ) -> None:
        """Start saving; returns once the state is copied and may be donated to the next step.

        Args:
          evaluation: of this state, if there was one.
          data_counters: epochs and tokens read so far, for people.
          stream: what this process needs, besides the step, to go on in its text; often nothing.

        Raises OSError if this or the save before it cannot be written.
        """
        if step in self._manager.all_steps():
            return
        items = {
            "params": ocp.args.StandardSave(state.params),
            "training": ocp.args.StandardSave({"step": state.step, "opt": state.opt_state}),
            "run": ocp.args.JsonSave(self._run.to_json() | {"data_counters": data_counters}),
            "tokenizer": TokenizerSave(self._vocabulary.to_files()),
        }
        if stream:
            items["stream"] = HostFilesSave(stream)
        with _storage_errors():
            self._manager.save(step, metrics=evaluation, args=ocp.args.Composite(**items))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _, error: BaseException | None, __) -> None:
        if error is not None and is_lost_host(error):
            return  # a save that needs all hosts will never be finished
        # Wait until everything is on the disk.
        with _storage_errors():
            self._manager.wait_until_finished()
            self._manager.close()


@contextmanager
def _storage_errors() -> Iterator[None]:
    """TensorStore reports a full disk as a ValueError with a status in front."""
    try:
        yield
    except ValueError as error:
        if "Error writing" not in str(error):
            raise
        raise OSError(str(error).splitlines()[0][:200]) from error


def find(path: str | Path, *, flag: str = "--checkpoint") -> Path:
    """The folder of one step: `path` itself, or the newest in the workdir `path`.

    Args:
      flag: which names the path in an error.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise CheckpointError(f"{flag}={path}: there is no such folder; name the --workdir of "
                              "a run or one of its checkpoints/STEP folders")  # fmt: skip
    if (path / "params").is_dir():
        return path.absolute()
    steps = saved_steps(path)
    if not steps:
        raise CheckpointError(f"{path} holds no finished checkpoint; train one with python -m "
                              f"zoo.train --model=palm_small --workdir={path}")  # fmt: skip
    return (path / FOLDER / str(steps[-1])).absolute()


def run_name(folder: Path) -> str:
    """What the run is called that wrote the checkpoint in `folder`: its workdir's name."""
    return folder.parents[1].name if folder.parent.name == FOLDER else folder.name


def saved_steps(workdir: Path) -> list[int]:
    """Steps of the finished checkpoints in `workdir`, in order. Unfinished ones have other names."""
    folder = workdir / FOLDER
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def read_run(folder: Path) -> Run:
    """The config of the run that wrote the checkpoint in `folder`."""
    return Run.from_json(_read(folder, "run", ocp.args.JsonRestore()))


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary that the checkpoint in `folder` was trained with."""
    try:
        return vocabulary_from_files(_read(folder, "tokenizer", TokenizerRestore()))
    except DataError as error:
        raise CheckpointError(f"the tokenizer in {folder} is damaged: {error}") from error


def read_stream(folder: Path) -> dict[str, bytes]:
    """What this process saved as `stream` in the checkpoint in `folder`."""
    if not (folder / "stream").is_dir():
        return {}
    return _read(folder, "stream", HostFilesRestore())


def read_params(
    folder: Path, experiment: Experiment, shardings: nnx.State | None = None
) -> nnx.State:
    """The parameters, laid out as `shardings` says or on the default device, whatever mesh they were
    saved on."""
    target = abstract_params(experiment.model)
    if (
        shardings is None
    ):  # said, for what several processes saved has no layout that one could have
        here = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: here, target)
    return read_params_like(folder, with_shardings(target, shardings))


def read_params_like(folder: Path, target: nnx.State) -> nnx.State:
    """The parameters, each with the shape, dtype and sharding of the abstract `target`."""
    return _read(folder, "params", ocp.args.StandardRestore(target))


def read_param(folder: Path, path: tuple[Any, ...]) -> np.ndarray:
    """One parameter on the host, in the precision in which it was saved."""
    tree: Any = {"value": 0}
    for key in reversed(path):
        tree = {key: tree}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    args = ocp.args.PyTreeRestore(item=tree, restore_args=as_numpy, partial_restore=True)
    (value,) = jax.tree.leaves(_read(folder, "params", args))
    return value


def write_weights(workdir: Path, params: nnx.State, run: Run, vocabulary: Vocabulary) -> None:
    """Make the workdir of a run of 0 steps: a checkpoint without optimizer state, for sampling and to
    start from. Compression would hold the weights in memory twice and save 8 % of the disk."""
    handler = ocp.CompositeCheckpointHandler(
        params=ocp.PyTreeCheckpointHandler(use_compression=False),
        run=ocp.JsonCheckpointHandler(),
        tokenizer=TokenizerHandler(),
    )
    with _storage_errors(), ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            (workdir / FOLDER / "0").absolute(),
            ocp.args.Composite(
                params=ocp.args.PyTreeSave(params),
                run=ocp.args.JsonSave(run.to_json()),
                tokenizer=TokenizerSave(vocabulary.to_files()),
            ),
        )


def read_state(folder: Path, target: TrainState) -> TrainState:
    """The whole state, each array with the shape, dtype and sharding of the abstract `target`: the
    mesh may be another than the one it was saved on."""
    params = read_params_like(folder, target.params)
    training = {"step": target.step, "opt": target.opt_state}
    training = _read(folder, "training", ocp.args.StandardRestore(training))
    return TrainState(training["step"], params, training["opt"])


def _read(folder: Path, item: str, args: ocp.args.CheckpointArgs) -> Any:
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(folder, ocp.args.Composite(**{item: args}))[item]
    except Exception as error:  # Orbax raises a bare Exception for an array that is cut short
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot read {item} of the checkpoint {folder}: it is damaged, cut short or of another "
            f"model ({reason[:200]}); use another step's folder, or start again with --fresh"
        ) from error
