"""Write checkpoints: those of a run while it trains, and imported weights."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
    PolicyCheckpointInfo,
    PreservationContext,
    PreservationPolicy,
)

from configs.experiment import Experiment
from data.vocabularies.vocabulary import Vocabulary
from zoo.checkpoints.checkpoint import FOLDER, Run
from zoo.checkpoints.files import FilesHandler, FilesSave
from zoo.checkpoints.history import History
from zoo.common.errors import is_lost_host
from zoo.training.step import TrainState


class CheckpointWriter:
    """Save the states of one run in the background; keep the newest few and the best."""

    def __init__(self, workdir: Path, run: Run, vocabulary: Vocabulary):
        self._run = run
        self._vocabulary = vocabulary
        policies: list[PreservationPolicy] = [LatestN(run.experiment.keep)]
        if run.experiment.divergence.action == "rewind":
            policies.append(_ForRewind(run.experiment))
        best = BestN(
            get_metric_fn=lambda metrics: -metrics["eval/loss"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        # A failed write is raised as an exception; asyncio would log it again for every array.
        for logger in ("absl", "asyncio"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        self._manager = ocp.CheckpointManager(
            (workdir / FOLDER).absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([*policies, best])
            ),
        )

    def save(
        self,
        state: TrainState,
        step: int,
        evaluation: dict[str, float] | None,
        history: History,
        data_counters: dict[str, float],
        stream: dict[str, bytes],
    ) -> None:
        """Start to save `state`; on return it is copied and may be donated to the next step.

        Args:
          evaluation: the metrics of this state, if it was evaluated.
          history: the run's events until this state.
          data_counters: epochs and tokens read so far, for people.
          stream: the files from which this process resumes its streamed text; empty where the step
            is enough.

        Raises OSError if this state, or the one saved before it, cannot be written.
        """
        if step in self._manager.all_steps():
            return
        items = {
            "params": ocp.args.StandardSave(state.params),
            "training": ocp.args.StandardSave({"step": state.step, "opt": state.opt_state}),
            "run": ocp.args.JsonSave(
                self._run.to_json()
                | {
                    "data_counters": data_counters,
                    "history": history.to_json(),
                    "recent": state.recent.to_json(),
                }
            ),
            "tokenizer": FilesSave(self._vocabulary.to_files(), owner="run"),
        }
        if stream:
            items["stream"] = FilesSave(stream, owner="process")
        with _storage_errors():
            self._manager.save(step, metrics=evaluation, args=ocp.args.Composite(**items))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _, error: BaseException | None, __) -> None:
        if error is not None and is_lost_host(error):
            return  # A save that needs all hosts would never finish.
        # Wait until everything is on the disk.
        with _storage_errors():
            self._manager.wait_until_finished()
            self._manager.close()


@dataclass
class _ForRewind(PreservationPolicy):
    """Keep what a rewind needs if the next spike comes before the next regular checkpoint."""

    experiment: Experiment

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: PreservationContext
    ) -> Sequence[bool]:
        """Return for each checkpoint, oldest first, whether to keep it."""
        del context
        every = self.experiment.save_every
        newest = checkpoints[-1].step if checkpoints else 0
        first_target = newest + 1 - self.experiment.divergence.rewind_steps
        return [info.step >= first_target // every * every for info in checkpoints]


def write_weights(workdir: Path, params: nnx.State, run: Run, vocabulary: Vocabulary) -> None:
    """Write a checkpoint of step 0 without optimizer state, to sample or start training from.

    It is not compressed: compression would hold the weights in memory twice, and saves only 8 % of
    the disk. Raises OSError if it cannot be written.
    """
    handler = ocp.CompositeCheckpointHandler(
        params=ocp.PyTreeCheckpointHandler(use_compression=False),
        run=ocp.JsonCheckpointHandler(),
        tokenizer=FilesHandler(),
    )
    with _storage_errors(), ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            (workdir / FOLDER / "0").absolute(),
            ocp.args.Composite(
                params=ocp.args.PyTreeSave(params),
                run=ocp.args.JsonSave(run.to_json()),
                tokenizer=FilesSave(vocabulary.to_files(), owner="run"),
            ),
        )


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raise OSError where TensorStore reports a full disk as a ValueError with a status."""
    try:
        yield
    except ValueError as error:
        if "Error writing" not in str(error):
            raise
        raise OSError(str(error).splitlines()[0][:200]) from error
