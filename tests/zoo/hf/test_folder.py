"""No path in an imported folder leads out of it, and nothing in it is executed."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from configs.experiment import Mesh
from tests.zoo import hf_folders
from zoo.common.errors import CheckpointError
from zoo.hf import convert
from zoo.hf.folder import file_in, list_tensors, read_json

INDEX = "model.safetensors.index.json"


def import_folder(source: Path, out: Path) -> dict:
    return convert.import_folder(
        source, out, tokenizer=source, mesh=Mesh(), verify=False, report=lambda line: None
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with its weights in several files, not to be changed."""
    folder = tmp_path_factory.mktemp("hf") / "gpt2"
    return hf_folders.make(folder, hf_folders.CONFIGS["gpt2"], max_shard_size="20KB")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(original, tmp_path / "gpt2")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "..", "", "a/b", "x\0y", "\ud800"])
def test_an_index_that_names_a_path_is_refused(name, folder):
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] |= {"more": name}
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="names the file .* which is not in the folder"):
        list_tensors(folder)


@pytest.mark.parametrize("name", ["config.json", INDEX, "tokenizer.json", "a shard"])
def test_a_link_out_of_the_folder_is_refused(name, folder, tmp_path):
    path = min(folder.glob("*.safetensors")) if name == "a shard" else folder / name
    path.symlink_to(path.rename(tmp_path / "outside"))
    with pytest.raises(CheckpointError, match=f"{path.name} is a link out of its folder"):
        import_folder(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_link_inside_the_folder_is_followed(folder):
    (folder / "config.json").rename(folder / "other.json")
    (folder / "config.json").symlink_to("other.json")
    assert file_in(folder, "config.json") == folder / "config.json"


def test_a_snapshot_of_hugging_faces_cache_is_imported(folder, tmp_path):
    """MODEL/snapshots/REVISION consists of links to MODEL/blobs."""
    model = tmp_path / "models--gpt2"
    snapshot = model / "snapshots/0123abcd"
    snapshot.mkdir(parents=True)
    blobs = shutil.copytree(folder, model / "blobs")
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    summary = import_folder(snapshot, tmp_path / "ours")
    assert summary["architecture"] == "gpt2"
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(folder / "config.json")
    with pytest.raises(CheckpointError, match="is a link out of its folder"):
        import_folder(snapshot, tmp_path / "again")


class _Program:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_pickles_and_code_in_the_folder_are_never_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model", "AutoConfig": "modeling.Config"}
    config["_attn_implementation"] = "someone/kernel"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("open('executed', 'w')")
    pickled = pickle.dumps(_Program())
    (folder / "pytorch_model.bin").write_bytes(pickled)
    (folder / "training_args.bin").write_bytes(pickled)
    convert.import_folder(
        folder, tmp_path / "a", tokenizer=folder, mesh=Mesh(), verify=True, report=lambda line: None
    )
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="other formats are not read"):
        import_folder(folder, tmp_path / "b")
    assert not Path("executed").exists()


def test_json_too_deep_for_python_is_damaged(tmp_path):
    (tmp_path / "x.json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match="x.json is damaged"):
        read_json(tmp_path / "x.json")


def test_more_layers_than_tensors_are_refused_at_once(original, tmp_path):
    folder = shutil.copytree(original, tmp_path / "deep")
    config = json.loads((folder / "config.json").read_text()) | {"n_layer": 10**9}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="it has 1000000000 layers"):
        import_folder(folder, tmp_path / "ours")
