"""Weights in and out: a Hugging Face folder as a checkpoint of the zoo, and the way back."""

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

from configs.experiment import AdamW, Experiment, Mesh, WarmupCosine
from data.errors import DataError
from data.vocabularies.files import FILES
from data.vocabularies.imported import JSON_FILE, SPECIAL_IDS_FILE, vocabulary_from_hf
from data.vocabularies.lossless import LosslessVocabulary
from data.vocabularies.tokenizer_json import to_tokenizer_json
from data.vocabularies.vocabulary import Vocabulary
from models.config import ConfigError, ModelConfig
from models.transformer import Transformer, abstract_params, num_params
from zoo.checkpoints import checkpoint
from zoo.checkpoints.checkpoint import Run
from zoo.distribution import sharding
from zoo.errors import CheckpointError
from zoo.folders import check_space, new_folder
from zoo.hf import config as hf_config
from zoo.hf import folder as hf_folder
from zoo.hf import params as hf_params
from zoo.inference.language_model import LanguageModel
from zoo.runs import workdir

TOLERANCE = 1e-3
"""Largest difference of two logits that --verify lets pass, in units of the largest logit."""


def recipe(model: ModelConfig) -> Experiment:
    """The run that an imported model begins: further training of all its weights.

    A low peak, since the weights are good already: 2e-5 with a short warm-up is what the published
    fine-tunings of models of this kind use (Alpaca's, for one).
    """
    seq_len = min(model.context_length, 1024)
    return Experiment(
        model=model,
        optimizer=AdamW(schedule=WarmupCosine(peak_lr=2e-5, warmup_steps=30)),
        num_steps=1000,
        batch_tokens=16 * seq_len,
        seq_len=seq_len,
    )


def import_folder(
    source: Path, out: Path, *, mesh: Mesh, verify: bool, report: Callable[[str], None]
) -> dict[str, Any]:
    """Write the model, the weights and the tokenizer of the folder `source` as the workdir `out`.

    Returns a summary. Raises CheckpointError for a folder that is damaged or holds what the zoo does
    not do, WorkdirError for an `out` that cannot be written; then `out` is not there.
    """
    if verify:
        _require_transformers()
    config = hf_folder.read_config(source)
    architecture, model = hf_config.model_config(config)
    vocabulary = _read_vocabulary(source, config, model)
    experiment = dataclasses.replace(recipe(model), mesh=mesh)
    with new_folder(out, "--out") as folder:
        params = hf_params.read(source, architecture, model, _shardings(experiment))
        leaves = jax.tree.leaves(params)
        size, num_bytes = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
        kinds = sorted({leaf.dtype.name for leaf in leaves})
        report(
            f"{architecture}: {size:,} parameters, {num_bytes / 1e6:,.1f} MB of {', '.join(kinds)}"
        )
        verified = None
        if verify:
            verified = _verify(
                LanguageModel(experiment, _graphdef(experiment), params, vocabulary), source
            )
            report(
                f"logits differ from transformers' by {verified['max_abs_difference']:.2e} at most"
            )
        origin = {
            "architecture": architecture,
            "folder": source.name,
            "dtypes": kinds,
            "verified": verified,
        }
        check_space(folder, 1, num_bytes)
        checkpoint.write_weights(folder, params, Run(experiment, {}, origin), vocabulary)
        workdir.write_config(folder, experiment)
    return {"checkpoint": str(out), "num_params": size, **origin}


def export_checkpoint(
    source: Path, out: Path, *, verify: bool, report: Callable[[str], None]
) -> dict[str, Any]:
    """Write the checkpoint `source` as a Hugging Face folder `out`, with its tokenizer.

    Returns a summary. Raises ConfigError for a model that no architecture there can express.
    """
    if verify:
        _require_transformers()
    folder = checkpoint.find(source)
    experiment = checkpoint.read_run(folder).experiment
    architecture, config = hf_config.hf_config(experiment.model)
    vocabulary = checkpoint.read_vocabulary(folder)
    files = _hf_tokenizer(vocabulary)
    size = num_params(experiment.model)
    verified = None
    with new_folder(out, "--to-hf") as partial:
        kinds = hf_params.write(
            partial,
            architecture,
            experiment.model,
            functools.partial(checkpoint.read_param, folder),
        )
        config |= {
            "bos_token_id": vocabulary.bos_id,
            "eos_token_id": vocabulary.eos_id,
            "pad_token_id": vocabulary.pad_id,
            "dtype": kinds.pop() if len(kinds) == 1 else "float32",
        }
        for name, content in files.items():
            (partial / name).write_bytes(content)
        text = json.dumps(config, indent=2) + "\n"
        (partial / hf_folder.CONFIG).write_text(text, encoding="utf-8")
        report(f"{architecture}: {size:,} parameters")
        if verify:
            params = checkpoint.read_params(folder, experiment)
            verified = _verify(
                LanguageModel(experiment, _graphdef(experiment), params, vocabulary), partial
            )
            report(
                f"logits differ from transformers' by {verified['max_abs_difference']:.2e} at most"
            )
    return {
        "folder": str(out),
        "architecture": architecture,
        "num_params": size,
        "verified": verified,
    }


def _read_vocabulary(source: Path, config: dict[str, Any], model: ModelConfig) -> Vocabulary:
    paths = {name: source / name for name in FILES if name != SPECIAL_IDS_FILE}
    try:
        files = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
        vocabulary = vocabulary_from_hf(files, config)
    except (OSError, DataError) as error:
        raise CheckpointError(
            f"the tokenizer in {source} cannot be used: {error}. Where transformers can load it, "
            f"AutoTokenizer.from_pretrained(...).save_pretrained(...) writes a {JSON_FILE}"
        ) from error
    if vocabulary.size > model.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {source} has {vocabulary.size} pieces and config.json "
            f"vocab_size={model.vocab_size}: they are of different models"
        )
    return vocabulary


def _hf_tokenizer(vocabulary: Vocabulary) -> dict[str, bytes]:
    """The files that `AutoTokenizer` reads: those it came with, or ours in its words."""
    if isinstance(vocabulary, LosslessVocabulary):
        return to_tokenizer_json(vocabulary)
    return {name: text for name, text in vocabulary.to_files().items() if name != SPECIAL_IDS_FILE}


def _shardings(experiment: Experiment) -> nnx.State:
    """Where every parameter goes: over the mesh, or without one to the first device."""
    num_devices = 1 if experiment.mesh == Mesh() else jax.device_count()
    mesh = sharding.make_mesh(experiment.mesh, num_devices)
    # No batch is read here, so none has to divide over the mesh.
    fitting = dataclasses.replace(experiment, batch_tokens=experiment.seq_len * mesh.size)
    rules = sharding.rules_for(fitting, mesh)
    return sharding.state_shardings(abstract_params(experiment.model), mesh, rules)


def _graphdef(experiment: Experiment) -> nnx.GraphDef:
    model = experiment.model
    execution = dataclasses.replace(experiment.execution, dtype="float32")
    return nnx.graphdef(nnx.eval_shape(lambda: Transformer(model, execution, rngs=nnx.Rngs(0))))


def _require_transformers() -> None:
    missing = [name for name in ("transformers", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--verify needs {' and '.join(missing)}; pip install transformers torch")


def _verify(ours: LanguageModel, folder: Path) -> dict[str, Any]:
    """Compare the logits of random tokens with those of `transformers` on the folder, in float32.

    Raises CheckpointError if they are not the same function.
    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = ours.experiment.model
    tokens = np.random.default_rng(0).integers(
        model.vocab_size, size=(2, min(model.context_length, 64))
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(tokens)).logits.numpy()
    del theirs
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), ours.params)
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(dataclasses.replace(ours, params=params).logits(tokens))
    difference, largest = float(np.abs(logits - expected).max()), float(np.abs(expected).max())
    if not difference <= TOLERANCE * largest:
        raise CheckpointError(
            f"the logits differ from transformers' by {difference:.2e}, where the largest is "
            f"{largest:.2e}: this is not the same function. Nothing was written"
        )
    return {
        "max_abs_difference": difference,
        "max_abs_logit": largest,
        "transformers": importlib.metadata.version("transformers"),
    }
