"""Import a Hugging Face folder as a checkpoint of the zoo, and export one."""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import recipes
from configs.experiment import Experiment, Mesh
from configs.parts.objectives import MaskedTokens, NextToken
from data.errors import DataError
from data.vocabularies.hugging_face import (
    HF_FILES,
    JSON_FILE,
    TokenIds,
    token_ids,
    vocabulary_from_hf,
)
from data.vocabularies.lossless import LosslessVocabulary
from data.vocabularies.tokenizer_json import to_tokenizer_json
from data.vocabularies.vocabulary import Vocabulary
from models.config import ConfigError, Encoder, ModelConfig
from models.model import abstract_model, num_params
from zoo.checkpoints import checkpoint, recovery
from zoo.checkpoints.checkpoint import Run
from zoo.checkpoints.writer import write_weights
from zoo.common.errors import CheckpointError
from zoo.common.folders import check_space, new_folder
from zoo.contrasts.masked_text import encoder_logits
from zoo.distribution.devices import resolve_dtype
from zoo.distribution.sharding import make_mesh
from zoo.hf import bert
from zoo.hf.architectures import ARCHITECTURES
from zoo.hf.config import ignored_keys, to_hf_config, to_model_config
from zoo.hf.folder import CONFIG_FILE, file_in, read_config
from zoo.hf.params import export_params, import_params
from zoo.inference.language_model import LanguageModel
from zoo.runs import workdir
from zoo.training.program import Program

TOLERANCE = 1e-3
"""The largest difference of two logits that --verify accepts, relative to the largest logit."""


def import_folder(
    source: Path,
    out: Path,
    *,
    tokenizer: Path | None,
    mesh: Mesh,
    verify: bool,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Write the config, weights and tokenizer of the folder `source` as the new workdir `out`.

    `tokenizer` is the folder of the tokenizer, most often `source` itself; None imports the model
    without one, for token ids only. Returns a summary. Raises CheckpointError if the folder is
    damaged or holds what the zoo does not support, WorkdirError if `out` cannot be written; after
    an error, `out` does not exist.
    """
    if verify:
        _require_transformers()
    config = read_config(source)
    architecture, model = to_model_config(config)
    if ignored := ignored_keys(config):
        listed = ", ".join(f"{key}={config[key]!r}" for key in ignored)
        report(f"ignored in config.json, since no {architecture} model has them: {listed[:500]}")
    vocabulary = token_ids(model.vocab_size, config)
    if tokenizer is None:
        report("no tokenizer: the model takes and gives token ids only")
    else:
        vocabulary = _read_vocabulary(tokenizer, config, model)
    objective = bert.objective(config) if isinstance(model.stack, Encoder) else NextToken()
    experiment = dataclasses.replace(recipes.fine_tuning(model, objective), mesh=mesh)
    with new_folder(out, "--out") as folder:
        params = import_params(source, architecture, model, _shardings(experiment))
        leaves = jax.tree.leaves(params)
        size, num_bytes = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
        dtypes = sorted({leaf.dtype.name for leaf in leaves})
        report(
            f"{architecture}: {size:,} parameters, {num_bytes / 1e6:,.1f} MB of {', '.join(dtypes)}"
        )
        verified = None
        if verify:
            verified = _verify(params, experiment, architecture, vocabulary, source, report)
        origin = {
            "architecture": architecture,
            "folder": source.name,
            "dtypes": dtypes,
            "verified": verified,
        }
        check_space(folder, 1, num_bytes)
        write_weights(folder, params, Run(experiment, {}, origin), vocabulary)
        workdir.write_config(folder, experiment)
    return {"checkpoint": str(out), "num_params": size, **origin}


def export_checkpoint(
    source: Path, out: Path, *, verify: bool, report: Callable[[str], None]
) -> dict[str, Any]:
    """Write the checkpoint `source`, with its tokenizer, as the new Hugging Face folder `out`.

    Returns a summary. Raises ConfigError if no architecture of Hugging Face can express the model.
    """
    if verify:
        _require_transformers()
    folder = checkpoint.find(source)
    recovery.verify(folder)
    experiment = checkpoint.read_run(folder).experiment
    architecture, config = to_hf_config(experiment.model)
    vocabulary = checkpoint.read_vocabulary(folder)
    files = _hf_tokenizer(vocabulary)
    size = num_params(experiment.model)
    verified = None
    with new_folder(out, "--to-hf") as partial:
        dtypes = export_params(
            partial,
            architecture,
            experiment.model,
            functools.partial(checkpoint.read_param, folder),
        )
        config |= {
            "bos_token_id": vocabulary.bos_id,
            "eos_token_id": vocabulary.eos_id,
            "pad_token_id": vocabulary.pad_id,
            "dtype": dtypes.pop() if len(dtypes) == 1 else "float32",
        }
        if isinstance(experiment.objective, MaskedTokens):
            config |= bert.marks(experiment.objective)
        for name, content in files.items():
            (partial / name).write_bytes(content)
        text = json.dumps(config, indent=2) + "\n"
        (partial / CONFIG_FILE).write_text(text, encoding="utf-8")
        report(f"{architecture}: {size:,} parameters")
        if verify:
            params = checkpoint.read_params(folder, experiment)
            verified = _verify(params, experiment, architecture, vocabulary, partial, report)
    return {
        "folder": str(out),
        "architecture": architecture,
        "num_params": size,
        "verified": verified,
    }


def _read_vocabulary(folder: Path, config: dict[str, Any], model: ModelConfig) -> Vocabulary:
    names = [name for name in HF_FILES if (folder / name).is_file()]
    try:
        files = {name: file_in(folder, name).read_bytes() for name in names}
        vocabulary = vocabulary_from_hf(files, config)
    except (OSError, DataError) as error:
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be used: {error}; name another folder with "
            "--tokenizer=DIR, or import the model for token ids only with --tokenizer=none; if "
            "transformers can load the tokenizer, "
            f"AutoTokenizer.from_pretrained(...).save_pretrained(...) writes a {JSON_FILE}"
        ) from error
    if vocabulary.size > model.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {folder} has {vocabulary.size} tokens and config.json "
            f"vocab_size={model.vocab_size}: they belong to different models"
        )
    return vocabulary


def _hf_tokenizer(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Return the files that `AutoTokenizer` reads: the imported ones, or ours translated."""
    if isinstance(vocabulary, LosslessVocabulary):
        return to_tokenizer_json(vocabulary)
    if isinstance(vocabulary, TokenIds):
        return {}
    return {name: text for name, text in vocabulary.to_files().items() if name in HF_FILES}


def _shardings(experiment: Experiment) -> nnx.State:
    """Return the sharding of every parameter: over the mesh, or on one device without a mesh."""
    num_devices = 1 if experiment.mesh == Mesh() else jax.device_count()
    mesh = make_mesh(experiment.mesh, num_devices)
    # An import reads no batch; this batch size satisfies the rules on every mesh.
    divisible = dataclasses.replace(
        experiment,
        batch_tokens=experiment.seq_len * mesh.size,
        mesh=dataclasses.replace(experiment.mesh, pipeline_micro_batches=None),
    )
    program = Program(resolve_dtype(divisible), mesh)
    return jax.tree.map(lambda param: param.sharding, program.params)


def _require_transformers() -> None:
    missing = [name for name in ("transformers", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--verify needs {' and '.join(missing)}; pip install transformers torch")


def _verify(
    params: nnx.State,
    experiment: Experiment,
    architecture: str,
    vocabulary: Vocabulary,
    folder: Path,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Compare the logits of random tokens with those of `transformers` on the folder, in float32.

    Reports the largest difference and returns the figures. Raises CheckpointError if the two differ
    by more than TOLERANCE.
    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = experiment.model
    tokens = np.random.default_rng(0).integers(
        model.vocab_size, size=(2, min(model.context_length, 64))
    )
    # The folder may choose neither the class nor the attention: both could be code from elsewhere.
    theirs = getattr(transformers, ARCHITECTURES[architecture].class_name).from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager",
    )
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(tokens)).logits.numpy()
    del theirs
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    graphdef = nnx.graphdef(abstract_model(model))  # in float32
    with jax.default_matmul_precision("highest"):
        if isinstance(model.stack, Encoder):
            logits = np.asarray(encoder_logits(graphdef, params, jnp.asarray(tokens)))
        else:
            ours = LanguageModel(experiment, graphdef, params, vocabulary)
            logits = np.asarray(ours.logits(tokens))
    difference, largest = float(np.abs(logits - expected).max()), float(np.abs(expected).max())
    if not difference <= TOLERANCE * largest:
        raise CheckpointError(
            f"the logits differ from transformers' by {difference:.2e}, where the largest is "
            f"{largest:.2e}: this is not the same function; nothing was written"
        )
    report(f"logits differ from transformers' by {difference:.2e} at most")
    return {
        "max_abs_difference": difference,
        "max_abs_logit": largest,
        "transformers": importlib.metadata.version("transformers"),
    }
