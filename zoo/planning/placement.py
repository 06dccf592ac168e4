"""The devices on which a trained model is used, for the commands and for programs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax

import configs
from configs.experiment import Experiment, Mesh, Weights
from zoo.checkpoints import checkpoint, recovery
from zoo.distribution.devices import bytes_per_device, for_inference, num_neighbours, quiet_libtpu
from zoo.inference import loading
from zoo.inference.language_model import LanguageModel
from zoo.planning import inference_mesh
from zoo.planning.inference_mesh import Evaluating, Sampling


def load(
    path: str | Path,
    *,
    step: checkpoint.Step | None = None,
    mesh: Mesh | Literal["auto"] | None = None,
    weights: Weights = "run",
    draft: str | Path | None = None,
    draft_tokens: int = 4,
    num_rows: int = 1,
    report: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Load the model in `path`: the workdir of a run, or one step's folder.

    Args:
      step: the checkpoint of a workdir: a number, or "best" for the lowest validation loss; None:
        the newest.
      mesh: the devices that share the weights and the cache, along the axes data, fsdp and tensor;
        each weight is read into its shards. "auto", or Mesh(auto=True) with some of the axes: all
        devices, along axes with which `num_rows` sequences fit. None: the first device has
        everything.
      weights: "run" for the precision of the run, or "int8" for a byte per entry of each matrix.
      draft: a small model in a workdir or a step's folder, which proposes `draft_tokens` tokens at
        a time; see `zoo.inference.speculative`.
      num_rows: sequences that are decoded together, for the choice of a mesh.
      report: gets a line with the chosen mesh and the reason for it.

    Raises CheckpointError if there is none or it is damaged, ConfigError if the model does not
    divide over the mesh or the draft has another vocabulary, and OutOfMemoryError, before anything
    is read, if the devices cannot hold the weights.
    """
    quiet_libtpu()
    folder = checkpoint.find(path, step=step)
    recovery.verify(folder)
    mesh = Mesh(auto=True) if mesh == "auto" else mesh
    experiment = for_inference(checkpoint.read_run(folder).experiment)
    configs.check_decoder(experiment, f"the model in {folder}")
    experiment = dataclasses.replace(experiment, mesh=mesh or Mesh(data=1))
    experiment = decide(
        experiment, Sampling(num_rows, weights), 1 if mesh is None else None, report
    )
    return loading.read(
        folder,
        mesh=None if mesh is None else experiment.mesh,
        weights=weights,
        draft=draft,
        draft_tokens=draft_tokens,
    )


def decide(
    experiment: Experiment,
    use: Sampling | Evaluating,
    num_devices: int | None = None,
    report: Callable[[str], None] | None = None,
) -> Experiment:
    """Return the experiment with its mesh decided for the devices of this process.

    Raises as `zoo.planning.inference_mesh.decide`.

    Args:
      num_devices: devices to use; None: all.
    """
    mesh, reason = inference_mesh.decide(
        experiment,
        use,
        num_devices or jax.device_count(),
        bytes_per_device(),
        num_neighbours(),
    )
    if reason is not None and report is not None:
        report(f"mesh: {reason}")
    return dataclasses.replace(experiment, mesh=mesh)
