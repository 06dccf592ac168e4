"""BERT to and from Hugging Face: the same function as `transformers`, in both directions."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from safetensors.numpy import load_file, save_file

from configs.parts.objectives import MaskedTokens
from models.config import Encoder
from models.model import abstract_model
from tests.zoo.hf_folders import tokens
from zoo.checkpoints import checkpoint
from zoo.common.errors import CheckpointError
from zoo.contrasts.masked_text import encoder_logits
from zoo.hf import convert

CLASSES = ["BertForMaskedLM", "BertForPreTraining"]
CONFIG: dict[str, Any] = {
    "vocab_size": 307,
    "hidden_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 29,
    "max_position_embeddings": 31,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder of each class, every parameter random."""
    torch.manual_seed(0)
    made = {}
    for name in CLASSES:
        model = getattr(transformers, name)(transformers.BertConfig(**CONFIG))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        made[name] = tmp_path_factory.mktemp("bert") / name
        model.save_pretrained(made[name])
    return made


def import_folder(source: Path, out: Path) -> dict:
    from configs.experiment import Mesh

    return convert.import_folder(
        source, out, tokenizer=None, mesh=Mesh(), verify=True, report=lambda line: None
    )


def logits_of(folder: Path, name: str) -> np.ndarray:
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        found = model(torch.from_numpy(tokens()))
    return (found.logits if name == CLASSES[0] else found.prediction_logits).numpy()


@pytest.mark.parametrize("name", CLASSES)
def test_an_import_and_an_export_are_the_same_function(name: str, folders, tmp_path: Path):
    summary = import_folder(folders[name], tmp_path / "ours")
    assert summary["architecture"] == "bert"
    assert summary["verified"]["max_abs_difference"] < 1e-4
    folder = checkpoint.find(tmp_path / "ours")
    experiment = checkpoint.read_run(folder).experiment
    assert isinstance(experiment.model.stack, Encoder)
    assert len(experiment.model.stack.heads) == CLASSES.index(name) + 1
    assert experiment.objective == MaskedTokens(cls_id=101, sep_id=102, mask_id=103)
    graphdef = nnx.graphdef(abstract_model(experiment.model))
    params = checkpoint.read_params(folder, experiment)
    expected = logits_of(folders[name], name)
    ours = np.asarray(encoder_logits(graphdef, params, jnp.asarray(tokens())))
    np.testing.assert_allclose(ours, expected, atol=1e-4)

    convert.export_checkpoint(folder, tmp_path / "theirs", verify=True, report=lambda line: None)
    np.testing.assert_allclose(logits_of(tmp_path / "theirs", name), expected, atol=1e-4)
    written = json.loads((tmp_path / "theirs/config.json").read_text())
    assert written["architectures"] == [name]
    assert (written["cls_token_id"], written["mask_token_id"]) == (101, 103)
    before = load_file(folders[name] / "model.safetensors")
    after = load_file(tmp_path / "theirs/model.safetensors")
    assert before.keys() == after.keys()
    assert all((before[tensor] == after[tensor]).all() for tensor in before)


def test_a_masked_language_model_lacks_the_second_head_of_its_file(folders, tmp_path: Path):
    """As in `transformers`: the released files have both heads and name the class with one."""
    source = tmp_path / "source"
    source.mkdir()
    config = json.loads((folders[CLASSES[1]] / "config.json").read_text())
    config |= {"architectures": [CLASSES[0]], "mask_token_id": 300}
    (source / "config.json").write_text(json.dumps(config))
    tensors = load_file(folders[CLASSES[1]] / "model.safetensors")
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].copy()
    save_file(tensors, source / "model.safetensors")
    import_folder(source, tmp_path / "ours")
    experiment = checkpoint.read_run(checkpoint.find(tmp_path / "ours")).experiment
    assert experiment.model.stack == Encoder(heads=("masked_tokens",))
    assert experiment.objective == MaskedTokens(cls_id=101, sep_id=102, mask_id=300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"hidden_dropout_prob": 0.2}, "hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1"),
        ({"num_attention_heads": 3}, "must be a multiple of num_attention_heads=3"),
    ],
)
def test_what_the_zoo_does_not_have_is_refused(change, message: str, folders, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    config = json.loads((folders[CLASSES[0]] / "config.json").read_text()) | change
    (source / "config.json").write_text(json.dumps(config))
    (source / "model.safetensors").write_bytes(
        (folders[CLASSES[0]] / "model.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match=message):
        import_folder(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
