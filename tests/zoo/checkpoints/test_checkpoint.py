"""Checkpoints: the items that are kept, the devices they return to, and damage."""

import dataclasses
import functools
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import zoo
from configs.experiment import Divergence, Experiment, Mesh
from data.vocabularies.lossless import train_vocabulary
from data.vocabularies.vocabulary import Vocabulary
from tests.models import experiments, samples
from zoo.checkpoints import checkpoint, manifest, recovery
from zoo.checkpoints.checkpoint import Run
from zoo.checkpoints.history import History
from zoo.checkpoints.writer import CheckpointWriter, all_finite, write_weights
from zoo.common import serialize
from zoo.common.errors import CheckpointError, DivergedError
from zoo.distribution import sharding
from zoo.training.step import TrainState, make_steps

# After a failed read TensorStore's threads report to Orbax's event loop, which is gone by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

EXPERIMENT = dataclasses.replace(experiments.PALM, keep=2)
STREAM = {"positions.json": b"[]"}
RUN = Run(EXPERIMENT, {"sha256": "abc", "num_documents": 7})


@functools.cache
def vocabulary() -> Vocabulary:
    return train_vocabulary(["a model reads tokens and learns which comes next\n" * 20], 290)


def abstract_state(mesh: Mesh, num_devices: int, experiment: Experiment = EXPERIMENT) -> TrainState:
    """The shapes and shardings of a state on a mesh, into which a checkpoint is read."""
    devices = sharding.make_mesh(mesh, num_devices)
    abstract = jax.eval_shape(make_steps(experiment).init)
    rules = sharding.rules_for(experiment, devices)
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        abstract,
        sharding.state_shardings(abstract, devices, rules),
    )


def random_state(mesh: Mesh = Mesh(), num_devices: int = 1) -> TrainState:
    """A state of random numbers."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        value = np.asarray(rng.uniform(1, 1e6, leaf.shape), leaf.dtype)
        return jax.device_put(value, leaf.sharding)

    return jax.tree.map(draw, abstract_state(mesh, num_devices))


def values(state: TrainState) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def save(workdir: Path, states: dict[int, TrainState], losses: dict[int, float]) -> None:
    with CheckpointWriter(workdir, RUN, vocabulary()) as writer:
        for step, state in states.items():
            evaluation = {"eval/loss": losses[step]} if step in losses else None
            writer.save(state, step, evaluation, History(), {}, STREAM if step == 30 else {})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with one checkpoint, not to be changed."""
    workdir = tmp_path_factory.mktemp("saved")
    save(workdir, {30: random_state()}, {30: 2.0})
    return workdir


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy of its only checkpoint, to be damaged."""
    return shutil.copytree(checkpoint.find(saved), tmp_path / "30")


def test_everything_comes_back(saved: Path):
    folder = checkpoint.find(saved)
    assert checkpoint.read_run(folder) == RUN
    assert checkpoint.read_vocabulary(folder).to_files() == vocabulary().to_files()
    expected = random_state()
    state = checkpoint.read_state(folder, abstract_state(Mesh(), 1))
    for ours, theirs in zip(values(state), values(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_where_a_stream_stood_comes_back_and_nothing_where_there_was_none(saved, tmp_path):
    assert checkpoint.read_stream(checkpoint.find(saved)) == STREAM
    save(tmp_path, {5: random_state()}, {})
    assert checkpoint.read_stream(checkpoint.find(tmp_path)) == {}


def test_the_newest_and_the_best_are_kept(tmp_path: Path):
    state = random_state()
    losses = {10: 3.0, 20: 1.0, 30: 2.0, 50: 2.5}
    save(tmp_path, {step: state for step in (10, 20, 30, 40, 50)}, losses)
    assert checkpoint.saved_steps(tmp_path) == [20, 40, 50]
    assert checkpoint.find(tmp_path) == tmp_path / "checkpoints" / "50"


def test_a_loaded_model_computes_what_the_saved_one_did(saved: Path):
    tokens = samples.random_tokens(EXPERIMENT.model, batch_size=2, seq_len=7)
    graphdef = make_steps(EXPERIMENT).graphdef
    expected = samples.logits(nnx.merge(graphdef, random_state().params), tokens)
    for path in (saved, str(saved / "checkpoints" / "30")):
        model = zoo.load(path)
        assert model.experiment == EXPERIMENT
        np.testing.assert_allclose(model.logits(tokens), expected, rtol=1e-5)


# --- other meshes ------------------------------------------------------------------------------


def save_on(mesh: Mesh, workdir: Path) -> None:
    save(workdir, {5: random_state(mesh, num_devices=8)}, {})


def read_on(mesh: Mesh, workdir: Path) -> tuple[list[np.ndarray], bool]:
    """The arrays of a checkpoint; True if they are laid out over the mesh as the target says."""
    target = abstract_state(mesh, num_devices=8)
    state = checkpoint.read_state(checkpoint.find(workdir), target)
    laid_out = [
        leaf.sharding == expected.sharding
        for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(target), strict=True)
    ]
    return values(state), all(laid_out)


def test_a_checkpoint_moves_between_meshes(tmp_path: Path):
    experiments.on_eight_devices(save_on, Mesh(data=2, fsdp=2, tensor=2), tmp_path)
    expected = values(random_state())
    one_device = checkpoint.read_state(checkpoint.find(tmp_path), abstract_state(Mesh(), 1))
    other_mesh, laid_out = experiments.on_eight_devices(read_on, Mesh(fsdp=4, tensor=2), tmp_path)
    assert laid_out
    for state in (values(one_device), other_mesh):
        for ours, theirs in zip(state, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


# --- damage ------------------------------------------------------------------------------------


def largest_file(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_a_file_cut_short_is_a_checkpoint_error(damaged: Path):
    for item in ("params", "training"):
        copy = shutil.copytree(damaged, damaged.with_name(f"{item}_cut"))
        path = largest_file(copy / item)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CheckpointError, match=f"cannot read {item} .*another step"):
            checkpoint.read_state(copy, abstract_state(Mesh(), 1))


@pytest.mark.parametrize("item", ["params", "training"])
def test_a_missing_item_is_a_checkpoint_error(damaged: Path, item: str):
    shutil.rmtree(damaged / item)
    with pytest.raises(CheckpointError, match=f"cannot read {item} .*another step"):
        checkpoint.read_state(damaged, abstract_state(Mesh(), 1))


def test_a_damaged_config_or_tokenizer_is_a_checkpoint_error(damaged: Path):
    path = largest_file(damaged / "run")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot read run "):
        checkpoint.read_run(damaged)
    path = largest_file(damaged / "tokenizer")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"tokenizer .*damaged"):
        checkpoint.read_vocabulary(damaged)


def test_the_parameters_of_another_model_are_a_checkpoint_error(saved: Path):
    folder = checkpoint.find(saved)
    wider = dataclasses.replace(EXPERIMENT.model, d_model=64)
    with pytest.raises(CheckpointError, match="of another model"):
        checkpoint.read_params(folder, dataclasses.replace(EXPERIMENT, model=wider))
    with pytest.raises(CheckpointError, match="of another model"):
        checkpoint.read_params(folder, experiments.GPT2)


def test_a_folder_without_a_checkpoint_says_what_to_do(tmp_path: Path):
    with pytest.raises(CheckpointError, match="there is no such folder"):
        checkpoint.find(tmp_path / "nowhere")
    unfinished = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp-0"
    unfinished.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"no finished checkpoint; train one with python -m"):
        checkpoint.find(tmp_path)


# --- what is never written ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_never_saved(tmp_path: Path, value: float):
    state = random_state()
    leaves, structure = jax.tree.flatten(state.params)
    leaves[-1] = leaves[-1].at[(0,) * leaves[-1].ndim].set(value)
    diverged = dataclasses.replace(state, params=jax.tree.unflatten(structure, leaves))
    with CheckpointWriter(tmp_path, RUN, vocabulary()) as writer:
        writer.save(state, 10, None, History(), {}, {})
        with pytest.raises(DivergedError, match="not finite after step 20.*step 10 is the newest"):
            writer.save(diverged, 20, {"eval/loss": 1.0}, History(), {}, {})
    assert checkpoint.saved_steps(tmp_path) == [10]
    recovery.verify(checkpoint.find(tmp_path))


def test_a_sharded_state_is_checked_on_all_devices(tmp_path: Path):
    assert experiments.on_eight_devices(_finite_on_a_mesh) == (True, False)


def _finite_on_a_mesh() -> tuple[bool, bool]:
    params = random_state(Mesh(fsdp=8), num_devices=8).params
    spoilt = jax.tree.map(lambda leaf: leaf.at[(-1,) * leaf.ndim].set(np.nan), params)
    return bool(all_finite(params)), bool(all_finite(spoilt))


def test_imported_weights_have_a_manifest_too(tmp_path: Path):
    write_weights(tmp_path, random_state().params, RUN, vocabulary())
    folder = checkpoint.find(tmp_path)
    assert manifest.damages(folder) == []
    (folder / manifest.FILE).unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json: a manifest expected, no such file"):
        recovery.verify(folder)


@pytest.mark.parametrize(
    "damaged",
    [[], 3, None, {}, {"experiment": 3, "data_fingerprint": {}}, {"data_fingerprint": {}}],
)
def test_a_record_of_a_run_that_is_none_is_damaged(damaged):
    with pytest.raises(CheckpointError, match="the record of the checkpoint's run is damaged"):
        checkpoint.Run.from_json(damaged)


def test_a_record_of_another_part_of_a_config_is_damaged():
    mesh = serialize.to_json(Mesh())
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.Run.from_json({"experiment": mesh, "data_fingerprint": {}})


# --- the best step -----------------------------------------------------------------------------


def test_the_best_step_is_found_and_kept_also_by_a_resumed_run(tmp_path: Path):
    state = random_state()
    save(tmp_path, {10: state, 20: state, 30: state}, {10: 3.0, 20: 1.0, 30: 2.0})
    save(tmp_path, {40: state, 50: state, 60: state}, {40: 1.5, 60: 1.25})
    assert checkpoint.saved_steps(tmp_path) == [20, 50, 60]
    assert checkpoint.find(tmp_path, step="best") == tmp_path / "checkpoints" / "20"
    assert checkpoint.find(tmp_path, step=50) == tmp_path / "checkpoints" / "50"
    assert checkpoint.validation_loss(tmp_path / "checkpoints" / "60") == 1.25
    assert checkpoint.validation_loss(tmp_path / "checkpoints" / "50") is None


def test_a_step_that_cannot_be_picked_is_refused(tmp_path: Path, saved: Path):
    save(tmp_path, {4: random_state(), 6: random_state()}, {})
    with pytest.raises(CheckpointError, match="no checkpoint of .* has a validation loss .*4, 6"):
        checkpoint.find(tmp_path, step="best")
    with pytest.raises(CheckpointError, match="--step=5 is not among .* steps 4, 6"):
        checkpoint.find(tmp_path, step=5)
    with pytest.raises(CheckpointError, match="--step=30 picks .* leave --step out"):
        checkpoint.find(saved / "checkpoints" / "30", step=30)


@pytest.mark.parametrize("content", ["{", "[]", '{"eval/loss": "low"}', "{}"])
def test_a_damaged_validation_loss_is_refused(damaged: Path, tmp_path: Path, content: str):
    (tmp_path / checkpoint.FOLDER).mkdir()
    folder = damaged.rename(tmp_path / checkpoint.FOLDER / "30")
    (folder / "metrics" / "metrics").write_text(content)
    with pytest.raises(CheckpointError, match="validation loss in .* is damaged"):
        checkpoint.find(tmp_path, step="best")


# --- rewinds -----------------------------------------------------------------------------------


def test_under_rewind_the_checkpoints_that_the_next_spike_may_need_are_kept(tmp_path: Path):
    policy = Divergence(action="rewind", rewind_steps=25)
    experiment = dataclasses.replace(EXPERIMENT, divergence=policy, save_every=10, keep=1)
    state = random_state()
    with CheckpointWriter(
        tmp_path, dataclasses.replace(RUN, experiment=experiment), vocabulary()
    ) as w:
        for step in (10, 20, 30, 40, 50, 60):
            w.save(state, step, None, History(), {}, {})
    # A spike at step 61 goes back to at most 36.
    assert checkpoint.saved_steps(tmp_path) == [30, 40, 50, 60]
    checkpoint.delete_after(tmp_path, 40)
    assert checkpoint.saved_steps(tmp_path) == [30, 40]
    assert not list((tmp_path / checkpoint.FOLDER).glob("*tmp*"))
