"""Write checkpoints: those of a run while it trains, and imported weights."""

import asyncio
import errno
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
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
from zoo.checkpoints import manifest
from zoo.checkpoints.checkpoint import FOLDER, Run
from zoo.checkpoints.files import FilesHandler, FilesSave
from zoo.checkpoints.history import History
from zoo.common.errors import DivergedError, is_lost_host
from zoo.training.step import TrainState


class _PathWithManifest(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The folder of a step while it is written; renamed last, once its manifest is complete.

    Orbax calls `finalize` in its background thread, in the primary process only, and after all
    processes have written their files.
    """

    async def finalize(self) -> None:
        """Do what Orbax does, with the manifest between the last file and the new name."""
        folder = Path(self.get())
        store = self._checkpoint_metadata_store
        if store is not None:
            # Not in this thread, where the event loop of Orbax runs.
            await asyncio.to_thread(store.wait_until_finished)
            path, now = folder / "_CHECKPOINT_METADATA", time.time_ns()
            await asyncio.to_thread(store.update, path, commit_timestamp_nsecs=now)
            await asyncio.to_thread(store.wait_until_finished)
        (folder / "commit_success.txt").write_text(f"complete: {self.get_final()}\n")
        await asyncio.to_thread(manifest.write, folder)
        folder.rename(self.get_final())


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
        self._folder = (workdir / FOLDER).absolute()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([*policies, best]),
                temporary_path_class=_PathWithManifest,
                # Orbax keeps the metrics beside a state only for its own idea of the best; without
                # them a resumed run would forget which of the earlier checkpoints is the best.
                best_fn=lambda metrics: metrics["eval/loss"],
                best_mode="min",
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

        Raises OSError if this state, or the one saved before it, cannot be written; DivergedError
        if a parameter is not finite.
        """
        if step in self._manager.all_steps():
            return
        if not all_finite(state.params):
            raise DivergedError(self._not_finite(step))
        if not self._folder.is_dir():  # Orbax would make it anew.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._folder))
        items = {
            "params": ocp.args.StandardSave(state.params),
            "training": ocp.args.StandardSave({"step": state.step, "opt": state.opt_state}),
            "run": ocp.args.JsonSave(
                self._run.to_json()
                | manifest.HAS_MANIFEST
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

    def _not_finite(self, step: int) -> str:
        steps = self._manager.all_steps()
        newest = f"step {max(steps)} is the newest checkpoint" if steps else "none was saved before"
        peak_lr = self._run.experiment.optimizer.schedule.peak_lr
        return (
            f"a parameter is not finite after step {step}, so that it is not saved ({newest}); "
            f"start over with --fresh and a --optimizer.schedule.peak-lr below {peak_lr}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _, error: BaseException | None, __) -> None:
        if error is not None and is_lost_host(error):
            return  # A save that needs all hosts would never finish.
        # Wait until everything is on the disk.
        with _storage_errors():
            self._manager.wait_until_finished()
            self._manager.close()


@jax.jit
def all_finite(params: nnx.State) -> jax.Array:
    """Return whether no parameter is NaN or infinite, as a scalar that all devices hold."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


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
    checkpointer = ocp.Checkpointer(handler, temporary_path_class=_PathWithManifest)
    with _storage_errors(), checkpointer:
        checkpointer.save(
            (workdir / FOLDER / "0").absolute(),
            ocp.args.Composite(
                params=ocp.args.PyTreeSave(params),
                run=ocp.args.JsonSave(run.to_json() | manifest.HAS_MANIFEST),
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
