"""Import and export: the same function as `transformers`, in both directions, or nothing."""

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from safetensors.numpy import load_file, save_file

import zoo
from configs.experiment import Mesh
from data.vocabularies.hugging_face import SentencePieceVocabulary, TokenizersVocabulary
from data.vocabularies.lossless import train_vocabulary
from models.config import ConfigError
from models.model import abstract_params
from tests.models import experiments, samples
from tests.zoo import hf_folders
from zoo.checkpoints import checkpoint
from zoo.checkpoints.writer import write_weights
from zoo.common.errors import CheckpointError, WorkdirError
from zoo.hf import convert
from zoo.hf.config import to_model_config
from zoo.hf.layout import LAYOUTS, rows_of
from zoo.inference.decode import Sampling

TOLERANCE = 1e-4


def import_folder(source: Path, out: Path, *, verify: bool = False, mesh: Mesh = Mesh()) -> dict:
    return convert.import_folder(
        source, out, tokenizer=source, mesh=mesh, verify=verify, report=lambda line: None
    )


def export_checkpoint(source: Path, out: Path, *, verify: bool = False) -> dict:
    return convert.export_checkpoint(source, out, verify=verify, report=lambda line: None)


def max_difference(ours: jax.Array, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max())


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One folder for each of the configs, not to be changed."""
    base = tmp_path_factory.mktemp("hf")
    return {name: hf_folders.make(base / name, cfg) for name, cfg in hf_folders.CONFIGS.items()}


@pytest.fixture
def gpt2(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(folders["gpt2"], tmp_path / "gpt2")


@pytest.mark.parametrize("name", hf_folders.CONFIGS)
def test_both_directions_agree_with_transformers(
    name: str, folders: dict[str, Path], tmp_path: Path
):
    tokens = hf_folders.tokens()
    expected = hf_folders.logits(folders[name], tokens)
    assert np.abs(expected).max() > 1  # else any two models would agree
    import_folder(folders[name], tmp_path / "ours")
    ours = zoo.load(tmp_path / "ours")
    assert max_difference(ours.logits(tokens), expected) < TOLERANCE
    export_checkpoint(tmp_path / "ours", tmp_path / "theirs")
    back = hf_folders.logits(tmp_path / "theirs", tokens)
    assert max_difference(ours.logits(tokens), back) < TOLERANCE
    before, after = (
        load_file(f / "model.safetensors") for f in (folders[name], tmp_path / "theirs")
    )
    assert before.keys() == after.keys()
    for tensor in before:
        np.testing.assert_array_equal(before[tensor], after[tensor])


@pytest.mark.parametrize("name", ["gpt2", "llama grouped"])
def test_an_imported_model_samples_and_its_tokenizer_travels(
    name: str, folders: dict[str, Path], tmp_path: Path
):
    import_folder(folders[name], tmp_path / "ours")
    model = zoo.load(tmp_path / "ours")
    assert isinstance(model.vocabulary, TokenizersVocabulary)
    (text,) = model.sample(["a model "], max_tokens=5, sampling=Sampling(temperature=0))
    theirs = transformers.AutoTokenizer.from_pretrained(folders[name])
    ids = [0, *theirs("a model").input_ids]
    for _ in range(5):
        row = hf_folders.logits(folders[name], np.array([ids]))[0, -1, : len(theirs)]
        if len(ids) == 1 + len(theirs("a model").input_ids):  # the prompt's last space
            begins = [theirs.convert_ids_to_tokens(i).startswith("Ġ") for i in range(len(theirs))]
            row = np.where(begins, row, -np.inf)
        ids.append(int(row.argmax()))
    ids = ids[: ids.index(0, 1)] if 0 in ids[1:] else ids
    assert "a model " + text == theirs.decode(ids[1:])
    export_checkpoint(tmp_path / "ours", tmp_path / "theirs")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert back(hf_folders.TEXT).input_ids == theirs(hf_folders.TEXT).input_ids


def test_a_sentencepiece_tokenizer_travels_too(folders: dict[str, Path], tmp_path: Path):
    folder = shutil.copytree(folders["llama"], tmp_path / "llama")
    (folder / "tokenizer.json").unlink()
    hf_folders.write_sentencepiece(folder)
    import_folder(folder, tmp_path / "ours")
    model = zoo.load(tmp_path / "ours")
    assert isinstance(model.vocabulary, SentencePieceVocabulary)
    assert len(model.sample(["a model"], max_tokens=5)) == 1
    export_checkpoint(tmp_path / "ours", tmp_path / "theirs")
    assert (tmp_path / "theirs/tokenizer.model").read_bytes() == (
        folder / "tokenizer.model"
    ).read_bytes()


def test_a_run_of_the_zoo_is_exported_with_its_tokenizer(tmp_path: Path):
    vocabulary = train_vocabulary([hf_folders.TEXT], 290)
    params = nnx.state(samples.random_model(experiments.GPT2.model), nnx.Param)
    run = checkpoint.Run(experiments.GPT2, {})
    write_weights(tmp_path / "ours", params, run, vocabulary)
    summary = export_checkpoint(tmp_path / "ours", tmp_path / "theirs", verify=True)
    assert summary["verified"]["max_abs_difference"] < TOLERANCE
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    text = "  a model reads 12 tokens\n\té😀"
    assert tokenizer(text).input_ids == [vocabulary.bos_id, *vocabulary.encode(text)]
    assert tokenizer.eos_token_id == vocabulary.eos_id


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half_on_the_disk_and_is_exact(dtype: torch.dtype, tmp_path: Path):
    config = hf_folders.CONFIGS["llama grouped"]
    folder = hf_folders.make(tmp_path / "hf", config, dtype=dtype, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").exists()
    summary = import_folder(folder, tmp_path / "ours")
    assert summary["dtypes"] == [str(dtype).removeprefix("torch.")]
    tokens = hf_folders.tokens()
    expected = hf_folders.logits(folder, tokens)
    assert max_difference(zoo.load(tmp_path / "ours").logits(tokens), expected) < TOLERANCE
    export_checkpoint(tmp_path / "ours", tmp_path / "theirs")
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").dtype == dtype


def test_a_mesh_of_devices_can_be_the_target(folders: dict[str, Path], tmp_path: Path):
    source, out = folders["gpt2 untied"], tmp_path / "ours"
    mesh = Mesh(data=2, fsdp=4)
    with pytest.raises(ConfigError, match=r"d_model=21 does not divide .*mesh\.fsdp=4"):
        experiments.on_eight_devices(import_folder, source, out, mesh=mesh)
    experiments.on_eight_devices(import_folder, source, out, mesh=Mesh(data=8), verify=True)
    tokens = hf_folders.tokens()
    assert (
        max_difference(zoo.load(out).logits(tokens), hf_folders.logits(source, tokens)) < TOLERANCE
    )


# --- layouts that ship gibberish elsewhere -----------------------------------------------------


def test_interleaved_rotary_pairs_are_another_function(folders: dict[str, Path], tmp_path: Path):
    """Meta's own files pair coordinates 2i and 2i + 1, Hugging Face's and ours i and i + H/2."""
    folder = shutil.copytree(folders["llama"], tmp_path / "llama")
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if ".q_proj." in name or ".k_proj." in name:
            halves = tensor.reshape(6, 2, 7, 18)
            tensors[name] = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(tensor.shape)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    import_folder(folder, tmp_path / "ours")
    tokens = hf_folders.tokens()
    expected = hf_folders.logits(folders["llama"], tokens)
    assert max_difference(zoo.load(tmp_path / "ours").logits(tokens), expected) > 0.1


WRONG_TABLES = {
    "a Conv1D taken for a Linear": (
        "gpt2",
        "h.{layer}.attn.c_proj.weight",
        {"their_axes": "D (N H)"},
    ),
    "query, key and value in turn for each head": (
        "gpt2",
        "h.{layer}.attn.c_attn.weight",
        {"their_axes": "D (N Z H)"},
    ),
    "key before query": ("gpt2", "h.{layer}.attn.c_attn.weight", {"ours": None}),
    "gate and up exchanged": (
        "llama",
        "layers.{layer}.mlp.gate_proj.weight",
        {"theirs": "layers.{layer}.mlp.up_proj.weight"},
    ),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_verify_refuses_another_function(name, folders, tmp_path, monkeypatch):
    architecture, theirs, change = WRONG_TABLES[name]
    layout = LAYOUTS[architecture]
    rows = []
    for row in layout.rows:
        if row.theirs == theirs:
            if "ours" in change:
                key, query, value = row.ours
                change = {"ours": (query, key, value)}
            rows.append(dataclasses.replace(row, **change))
        elif row.theirs == change.get("theirs"):
            rows.append(dataclasses.replace(row, theirs=theirs))
        else:
            rows.append(row)
    wrong = dataclasses.replace(layout, rows=tuple(rows))
    monkeypatch.setitem(LAYOUTS, architecture, wrong)
    with pytest.raises(CheckpointError, match=r"logits differ .* not the same function"):
        import_folder(folders[architecture], tmp_path / "ours", verify=True)
    assert list(tmp_path.iterdir()) == []


def test_what_was_verified_is_in_the_checkpoint(folders: dict[str, Path], tmp_path: Path):
    summary = import_folder(folders["gpt1"], tmp_path / "ours", verify=True)
    origin = checkpoint.read_run(checkpoint.find(tmp_path / "ours")).imported_from
    assert origin is not None
    assert origin.items() <= summary.items()
    assert origin["verified"]["max_abs_difference"] < TOLERANCE
    assert origin["verified"]["transformers"] == transformers.__version__


def test_verify_without_transformers_says_what_to_install(gpt2: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="--verify needs transformers and torch; pip install"):
        import_folder(gpt2, tmp_path / "ours", verify=True)


# --- every tensor once, or nothing -------------------------------------------------------------


def test_known_buffers_names_without_prefix_and_a_copy_of_the_embedding_are_fine(
    gpt2: Path, folders: dict[str, Path], tmp_path: Path
):
    tensors = {
        name.removeprefix("transformer."): tensor
        for name, tensor in load_file(gpt2 / "model.safetensors").items()
    }
    tensors["h.0.attn.bias"] = np.ones((1, 1, 31, 31), np.uint8)
    tensors["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    tensors["lm_head.weight"] = tensors["wte.weight"]
    save_file(tensors, gpt2 / "model.safetensors")
    import_folder(gpt2, tmp_path / "ours")
    tokens = hf_folders.tokens()
    expected = hf_folders.logits(folders["gpt2"], tokens)
    assert max_difference(zoo.load(tmp_path / "ours").logits(tokens), expected) < TOLERANCE


def _renamed(tensors, old, new):
    tensors[new] = tensors.pop(old)


DAMAGE = {
    "a missing tensor": (lambda t: t.pop("transformer.ln_f.bias"), "ln_f.bias is missing"),
    "a tensor too many": (
        lambda t: t.update(score=t["transformer.ln_f.bias"]),
        "score has no place",
    ),
    "another layer": (
        lambda t: _renamed(t, "transformer.h.2.ln_1.bias", "transformer.h.3.ln_1.bias"),
        r"h\.2\.ln_1\.bias is missing; h\.3\.ln_1\.bias has no place",
    ),
    "another shape": (
        lambda t: t.update({"transformer.ln_f.bias": np.ones(22, np.float32)}),
        r"ln_f\.bias has shape \[22\] and config\.json says \[21\]",
    ),
    "quantised weights": (
        lambda t: t.update({"transformer.ln_f.bias": np.ones(21, np.int8)}),
        r"ln_f\.bias is I8, and the zoo reads F32, F16, BF16",
    ),
    "an untied output matrix": (
        lambda t: t.update({"lm_head.weight": 2 * t["transformer.wte.weight"]}),
        r"lm_head\.weight differs from the embedding",
    ),
    "a tensor twice": (
        lambda t: t.update({"ln_f.bias": t["transformer.ln_f.bias"]}),
        r"ln_f\.bias with and without a prefix",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_written(name, gpt2, tmp_path):
    damage, message = DAMAGE[name]
    tensors = load_file(gpt2 / "model.safetensors")
    damage(tensors)
    save_file(tensors, gpt2 / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        import_folder(gpt2, tmp_path / "new" / "ours")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("keep", [0.0, 0.6, None], ids=["empty", "cut short", "missing"])
def test_a_damaged_or_missing_file_is_named_and_nothing_is_written(file, keep, gpt2, tmp_path):
    if keep is None:
        (gpt2 / file).unlink()
    else:
        content = (gpt2 / file).read_bytes()
        (gpt2 / file).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError, match=file):
        import_folder(gpt2, tmp_path / "ours")
    assert list(tmp_path.iterdir()) == [gpt2]


def test_the_tokenizer_of_a_larger_model_is_refused(gpt2: Path, tmp_path: Path):
    tokenizer = json.loads((gpt2 / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["more"] = hf_folders.VOCAB_SIZE
    (gpt2 / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        CheckpointError, match=f"has {hf_folders.VOCAB_SIZE + 1} tokens .* different"
    ):
        import_folder(gpt2, tmp_path / "ours")


def test_a_folder_that_holds_something_is_left_alone(gpt2: Path, tmp_path: Path):
    before = sorted(gpt2.iterdir())
    with pytest.raises(WorkdirError, match=f"--out={gpt2} is not empty"):
        import_folder(gpt2, gpt2)
    assert sorted(gpt2.iterdir()) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WorkdirError, match=f"--out={tmp_path}/file/ours cannot be written"):
        import_folder(gpt2, tmp_path / "file" / "ours")


def test_a_model_that_hugging_face_lacks_is_refused(trained, tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r"nearest, llama, differs: .*model\.layout is 'parallel'"
    ):
        export_checkpoint(trained.workdir, tmp_path / "theirs")
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import resource, sys
from pathlib import Path
import jax
from zoo.hf import convert
from configs.experiment import Mesh
way, source, ours, theirs = sys.argv[1], *map(Path, sys.argv[2:])
def peak(): return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
jax.block_until_ready(jax.numpy.ones(3) + 1)
# The memory in use now, not the peak so far: the imports can have had a higher peak.
before = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])
if way == "in":
    convert.import_folder(source, ours, tokenizer=source, mesh=Mesh(), verify=False, report=print)
else:
    convert.export_checkpoint(ours, theirs, verify=False, report=print)
print((peak() - before) / (source / "model.safetensors").stat().st_size)
"""


def test_memory_stays_under_one_and_a_half_times_the_weights(tmp_path: Path, run_process):
    source = tmp_path / "hf"
    source.mkdir()
    model = {
        "vocab_size": 2003,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_attention_heads": 4,
        "num_hidden_layers": 11,
    }
    _, config = to_model_config({"model_type": "llama"} | model)
    (source / "config.json").write_text(json.dumps({"model_type": "llama"} | model))
    hf_folders.write_bpe(source)
    layout = LAYOUTS["llama"]
    names = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(abstract_params(config))}
    rng, tensors = np.random.default_rng(0), {}
    for row in rows_of(layout, names):
        for layer in range(config.num_layers if row.is_stacked else 1):
            shape = row.their_shape(config)
            tensors[row.their_name(layer)] = rng.standard_normal(shape, np.float32)
    save_file(tensors, source / "model.safetensors")
    # A small process starts the measured one, which inherits the peak of the process that forks it.
    program = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    paths = [str(path) for path in (source, tmp_path / "ours", tmp_path / "theirs")]
    for way in ("in", "out"):
        process = run_process("-c", program, "-c", MEMORY, way, *paths)
        assert process.returncode == 0, process.stderr
        assert 0.5 < float(process.stdout.split()[-1]) < 1.5
