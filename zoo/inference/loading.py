"""A checkpoint in memory, ready to work: `zoo.load(path)`."""

import dataclasses
from pathlib import Path

import jax

from configs.experiment import Experiment, Mesh, Weights
from models.config import check
from zoo.checkpoints import checkpoint, recovery
from zoo.distribution.devices import for_inference, quiet_libtpu
from zoo.distribution.sharding import make_mesh, mesh_shape
from zoo.inference.language_model import LanguageModel
from zoo.inference.layout import graphdef_by_layer, params_by_layer
from zoo.inference.weights import hold
from zoo.training.program import Program


def load(
    path: str | Path,
    *,
    step: checkpoint.Step | None = None,
    mesh: Mesh | None = None,
    weights: Weights = "run",
) -> LanguageModel:
    """Load the model in `path`: the workdir of a run, or one step's folder.

    Args:
      step: the checkpoint of a workdir: a number, or "best" for the lowest validation loss; None:
        the newest.
      mesh: the devices that share the weights and the cache, along the axes data, fsdp and tensor;
        each weight is read into its shards. None: the first device has everything.
      weights: "run" for the precision of the run, or "int8" for a byte per entry of each matrix.

    Raises CheckpointError if there is none or it is damaged, ConfigError if the model does not
    divide over the mesh.
    """
    quiet_libtpu()
    folder = checkpoint.find(path, step=step)
    recovery.verify(folder)
    experiment = for_inference(checkpoint.read_run(folder).experiment)
    program = None if mesh is None else program_on(experiment, mesh)
    if program is None:
        params = checkpoint.read_params(folder, experiment)
    else:
        with program.entered():
            params = checkpoint.read_params_like(folder, program.params)
    params = hold(params, weights, experiment.model, program)
    return LanguageModel(
        experiment=experiment,
        graphdef=graphdef_by_layer(experiment.model, experiment.execution),
        params=params_by_layer(params, experiment.execution),
        vocabulary=checkpoint.read_vocabulary(folder),
        program=program,
    )


def program_on(experiment: Experiment, mesh: Mesh) -> Program:
    """Return the program whose devices share the model; its batch is the fewest rows that divide.

    Raises ConfigError if the mesh has other axes than data, fsdp and tensor, or if the model does
    not divide over it.
    """
    shape = mesh_shape(mesh, jax.device_count())
    check(
        shape["pipeline"] == shape["sequence"] == 1,
        "a model is served over the axes data, fsdp and tensor only; leave out --mesh.pipeline and "
        "--mesh.sequence",
    )
    experiment = dataclasses.replace(
        experiment,
        mesh=mesh,
        batch_tokens=shape["data"] * shape["fsdp"] * experiment.seq_len,
        batch_ramp=None,
        micro_batches=1,
    )
    return Program(experiment, make_mesh(mesh, jax.device_count()))
