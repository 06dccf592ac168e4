"""A checkpoint in memory, ready to work: `zoo.load(path)`."""

import dataclasses
from pathlib import Path

import jax
from jax.sharding import NamedSharding, PartitionSpec

import configs
from configs.experiment import Experiment, Mesh, Weights
from models.config import check
from models.model import abstract_params
from zoo.checkpoints import checkpoint, recovery
from zoo.distribution.devices import for_inference, quiet_libtpu
from zoo.distribution.hosts import Hosts
from zoo.distribution.sharding import make_mesh, mesh_shape
from zoo.inference.language_model import LanguageModel
from zoo.inference.layout import graphdef_by_layer, params_by_layer
from zoo.inference.speculative import Draft
from zoo.inference.weights import hold
from zoo.training.program import Program


def load(path: str | Path, *, weights: Weights = "run") -> LanguageModel:
    """Load the model in `path`, the workdir of a run or one step's folder, onto the first device.

    `weights`: as for `read`. Raises CheckpointError if there is none or it is damaged.
    """
    quiet_libtpu()
    folder = checkpoint.find(path)
    recovery.verify(folder)
    return read(folder, weights=weights)


def read(
    folder: Path,
    *,
    mesh: Mesh | None = None,
    weights: Weights = "run",
    draft: str | Path | None = None,
    draft_tokens: int = 4,
) -> LanguageModel:
    """Read the model of one step's folder, which is verified.

    Args:
      mesh: the devices that share the weights and the cache, along the axes data, fsdp and tensor;
        each weight is read into its shards. None: the first device has everything.
      weights: "run" for the precision of the run, or "int8" for a byte per entry of each matrix.
      draft: a small model in a workdir or a step's folder, which proposes `draft_tokens` tokens at
        a time; see `zoo.inference.speculative`.

    Raises CheckpointError if the checkpoint is of another model, ConfigError if the model does not
    divide over the mesh or the draft has another vocabulary.
    """
    experiment = for_inference(checkpoint.read_run(folder).experiment)
    configs.check_decoder(experiment, f"the model in {folder}")
    check(
        mesh is not None or jax.process_count() == 1,
        "several processes share a model over a mesh; write --mesh=auto, or name its axes",
    )
    program = None if mesh is None else program_on(experiment, mesh)
    if program is None:
        params = checkpoint.read_params(folder, experiment)
    else:
        Hosts.connect(program.mesh)
        with program.entered():
            params = checkpoint.read_params_like(folder, program.params)
    params = hold(params, weights, experiment.model, program)
    model = LanguageModel(
        experiment=experiment,
        graphdef=graphdef_by_layer(experiment.model, experiment.execution),
        params=params_by_layer(params, experiment.execution, consume=True),
        vocabulary=checkpoint.read_vocabulary(folder),
        program=program,
    )
    if draft is None:
        return model
    return dataclasses.replace(model, draft=_load_draft(draft, draft_tokens, model, weights))


def _load_draft(path: str | Path, num_tokens: int, model: LanguageModel, weights: Weights) -> Draft:
    """Load a draft of the model onto its devices, each of which has all of it."""
    folder = checkpoint.find(path, flag="--draft")
    recovery.verify(folder)
    experiment = for_inference(checkpoint.read_run(folder).experiment)
    vocabulary, size = checkpoint.read_vocabulary(folder), experiment.model.vocab_size
    own_size = model.experiment.model.vocab_size
    check(
        vocabulary.fingerprint == model.vocabulary.fingerprint and size == own_size,
        f"--draft={path} has another vocabulary ({size:,} ids) than the model ({own_size:,} ids), "
        "and a draft proposes the model's ids; name a model that was trained with the same "
        "vocabulary",
    )
    shardings = None
    if model.program is not None:
        everywhere = NamedSharding(model.program.mesh, PartitionSpec())
        abstract = abstract_params(experiment.model, experiment.param_dtype)
        shardings = jax.tree.map(lambda _: everywhere, abstract)
    params = checkpoint.read_params(folder, experiment, shardings)
    return Draft(
        graphdef_by_layer(experiment.model, experiment.execution),
        params_by_layer(
            hold(params, weights, experiment.model), experiment.execution, consume=True
        ),
        num_tokens,
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
