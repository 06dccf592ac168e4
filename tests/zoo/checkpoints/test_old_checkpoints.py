"""Checkpoints of the version before: they load, sample, score and resume to the same numbers."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

import configs
import zoo
from tests.zoo.checkpoints import old_checkpoints
from zoo.checkpoints import checkpoint
from zoo.common import serialize
from zoo.inference.decode import Sampling
from zoo.runs.metrics import read_metrics

REPOSITORY = Path(__file__).parents[3]
RELATIVE_TOLERANCE = 1e-5
"""The recorded numbers come from another CPU."""


@pytest.fixture(scope="module", params=list(old_checkpoints.CHECKPOINTS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def workdir(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir as the old code left it, beside its text; the last test continues the training."""
    folder = tmp_path_factory.mktemp(name)
    old_checkpoints.write_corpus(folder)
    old_checkpoints.build(name, folder / name)
    return folder / name


def test_the_folder_is_the_one_described(name: str, workdir: Path):
    recorded = old_checkpoints.CHECKPOINTS[name]
    folder = checkpoint.find(workdir)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == recorded["items"]
    for item, leaves in recorded["arrays"].items():
        expected = {tuple(leaf["path"]) for leaf in leaves}
        assert old_checkpoints.paths_on_disk(folder, item) == expected


def test_it_samples_and_scores(name: str, workdir: Path):
    expected = old_checkpoints.CHECKPOINTS[name]["expected"]
    model = zoo.load(workdir)
    samples = model.sample(
        list(expected["samples"]), max_tokens=16, sampling=Sampling(temperature=0)
    )
    assert samples == list(expected["samples"].values())
    scores = [score.log_probability for score in model.score(list(expected["log_probabilities"]))]
    assert scores == pytest.approx(
        list(expected["log_probabilities"].values()), rel=RELATIVE_TOLERANCE
    )


EARLIER_RECIPE = {
    "palm": ["--data.packing=split", "--optimizer.decays=matrices"],
    "gpt": ["--data.packing=split"],
}
"""Flags for what the recipes have changed since: no mask separates documents, and PaLM's norm
scales decay."""


def test_it_resumes(name: str, workdir: Path):
    """Training runs in another process, since one of the runs needs two devices."""
    recorded = old_checkpoints.CHECKPOINTS[name]
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "zoo.train",
            *recorded["flags"],
            *EARLIER_RECIPE[name],
            f"--workdir={name}",
            "--num-steps=6",
        ],
        cwd=workdir.parent,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert f"resuming from checkpoints/{old_checkpoints.STEP}" in process.stderr
    rows, expected = read_metrics(workdir), recorded["expected"]
    losses = {str(row["step"]): row["train/loss"] for row in rows}
    assert losses == pytest.approx(expected["losses"], rel=RELATIVE_TOLERANCE)
    validation_loss = pytest.approx(expected["validation_loss"], rel=RELATIVE_TOLERANCE)
    assert rows[-1]["eval/loss"] == validation_loss


def test_where_a_stream_stood_is_read(tmp_path: Path):
    folder = old_checkpoints.build("palm", tmp_path)
    (folder / "stream" / "process_0").mkdir(parents=True)
    (folder / "stream" / "process_0" / "positions.json").write_bytes(b"[7]")
    assert checkpoint.read_stream(folder) == {"positions.json": b"[7]"}


def test_the_config_of_a_run_on_a_task_is_read():
    for name, saved in old_checkpoints.CONFIGS.items():
        experiment = configs.get(name)
        earlier = dataclasses.replace(
            experiment,
            data=dataclasses.replace(experiment.data, packing="split", vocabulary_style="palm"),
            optimizer=dataclasses.replace(experiment.optimizer, decays="matrices"),
        )
        assert serialize.from_json(saved) == earlier
