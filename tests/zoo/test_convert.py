"""`python -m zoo.convert` as a person calls it."""

import json
from pathlib import Path

import pytest

from tests.zoo import hf_folders
from zoo import convert, sample, train


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    """Not to be changed."""
    return hf_folders.make(tmp_path_factory.mktemp("hf") / "gpt2", hf_folders.CONFIGS["gpt2"])


@pytest.fixture(scope="module")
def imported(gpt2: Path, tmp_path_factory) -> Path:
    """Not to be changed."""
    out = tmp_path_factory.mktemp("imported") / "tiny"
    convert.main([f"--from-hf={gpt2}", f"--out={out}"])
    return out


def test_there_and_back_and_a_sample(gpt2: Path, tmp_path: Path, run_here):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    outcome = run_here(convert.main, f"--from-hf={gpt2}", f"--out={ours}", "--verify", "--json")
    assert outcome.code == 0, outcome.stderr
    summary = json.loads(outcome.stdout)
    assert summary["architecture"] == "gpt2"
    assert summary["verified"]["max_abs_difference"] < 1e-4
    assert f"python -m zoo.sample --checkpoint={ours}" in outcome.stderr
    outcome = run_here(sample.main, f"--checkpoint={ours}", "--prompt=a model ", "--max-tokens=3")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.startswith("a model ")
    outcome = run_here(convert.main, f"--to-hf={theirs}", f"--checkpoint={ours}", "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["folder"] == str(theirs)
    assert (theirs / "model.safetensors").exists()


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--from-hf=x"],
        ["--to-hf=x", "--out=y"],
        ["--from-hf=x", "--out=y", "--checkpoint=z"],
        ["--from-hf=x", "--out=y", "--to-hf=x", "--checkpoint=z"],
    ],
)
def test_half_a_command_says_the_whole(flags, run_here):
    outcome = run_here(convert.main, *flags)
    assert outcome.code == 2
    assert "--from-hf=DIR --out=DIR, or --to-hf=DIR --checkpoint=DIR" in outcome.stderr


def test_a_foreign_folder_is_one_message_and_nothing_is_written(tmp_path: Path, run_here):
    outcome = run_here(convert.main, f"--from-hf={tmp_path}", f"--out={tmp_path / 'out'}")
    assert outcome.code == 3
    assert "is not a Hugging Face folder: it has no config.json" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


# --- zoo.train --init-from ---------------------------------------------------------------------


@pytest.fixture
def flags(imported: Path, corpus_glob: str, tmp_path: Path) -> list[str]:
    return [
        f"--init-from={imported}",
        f"--data.files={corpus_glob}",
        f"--workdir={tmp_path / 'run'}",
        "--batch-tokens=124",
        "--eval-every=2",
    ]


def rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_training_starts_from_imported_weights_and_the_same_command_resumes(
    flags, imported, tmp_path, run_here
):
    for num_steps in (2, 3):
        outcome = run_here(train.main, *flags, f"--num-steps={num_steps}", "--json")
        assert outcome.code == 0, outcome.stderr
        assert ("starting from the parameters" in outcome.stderr) == (num_steps == 2)
        assert ("resuming from checkpoints/2" in outcome.stderr) == (num_steps == 3)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["init_from"] == str(imported)
    assert json.loads(outcome.stdout)["model"] == imported.name
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3]


def test_the_first_loss_is_that_of_the_imported_weights(flags, tmp_path, run_here):
    """A random start has the logarithm of the vocabulary size; these weights are worse."""
    outcome = run_here(train.main, *flags, "--num-steps=1")
    assert outcome.code == 0, outcome.stderr
    assert rows(tmp_path / "run")[0]["train/loss"] > 6.2


def test_another_architecture_is_refused_with_its_keys(flags, run_here):
    outcome = run_here(train.main, *flags, "--model.num-layers=2", "--model.feed-forward.d-ff=31")
    assert outcome.code == 2
    assert "model.num_layers is 3 in the checkpoint, 2 here" in outcome.stderr
    assert "model.feed_forward.d_ff is 29 in the checkpoint, 31 here" in outcome.stderr
    outcome = run_here(train.main, "--model=palm_nano", *flags, "--batch-tokens=128")
    assert outcome.code == 2
    assert "model.layout is pre_norm in the checkpoint, parallel here" in outcome.stderr
    assert "leave out --model" in outcome.stderr


def test_imported_weights_are_not_a_run_to_resume(flags, imported, run_here):
    outcome = run_here(train.main, *flags, f"--workdir={imported}")
    assert outcome.code == 2
    assert f"train them with --init-from={imported} and another --workdir" in outcome.stderr


def test_a_missing_checkpoint_is_named_with_its_flag(flags, tmp_path, run_here):
    outcome = run_here(train.main, *flags, f"--init-from={tmp_path / 'nowhere'}")
    assert outcome.code == 3
    assert f"--init-from={tmp_path / 'nowhere'}: there is no such folder" in outcome.stderr
