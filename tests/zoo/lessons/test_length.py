"""The loss by position, checked against the model's own scores."""

import dataclasses
import json

import numpy as np
import pytest

from models.config import ConfigError, Learned, Relative
from tests.zoo.reporting.pages import parse
from zoo import scaling
from zoo.inference.language_model import LanguageModel
from zoo.lessons.length import LossByPosition, loss_by_position, positions
from zoo.planning.placement import load

LENGTH = 160
"""Two and a half times the length of palm_nano's rows."""


@pytest.fixture(scope="module")
def model(trained) -> LanguageModel:
    return load(trained.workdir)


@pytest.fixture(scope="module")
def measured(model) -> LossByPosition:
    return loss_by_position(model, "nano", documents(model), LENGTH, max_windows=5)


def documents(model: LanguageModel) -> np.ndarray:
    """Two long documents and a short one, each between its marks."""
    rng = np.random.default_rng(0)
    bos, eos = model.vocabulary.bos_id, model.vocabulary.eos_id
    assert bos is not None
    assert eos is not None
    lengths = (2 * LENGTH + 40, 30, 3 * LENGTH)
    parts = [np.r_[bos, rng.integers(10, 300, length), eos] for length in lengths]
    return np.concatenate(parts)


def nats(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    log_p, _ = model.token_scores(ids[None].astype(np.int32))
    return -np.asarray(log_p[0])


def test_windows_lie_within_one_document_and_begin_with_its_mark(model, measured):
    tokens = documents(model)
    assert measured.nats.shape == measured.cut.shape == (5, LENGTH)
    first = np.r_[tokens[0], tokens[1 : LENGTH + 1]]
    second = np.r_[tokens[0], tokens[LENGTH + 1 : 2 * LENGTH + 1]]
    np.testing.assert_allclose(measured.nats[0], nats(model, first), rtol=1e-4)
    np.testing.assert_allclose(measured.nats[1], nats(model, second), rtol=1e-4)
    third = tokens[2 * LENGTH + 40 + 2 + 32 :]
    np.testing.assert_allclose(measured.nats[2], nats(model, third[: LENGTH + 1]), rtol=1e-4)


def test_beyond_the_trained_length_the_same_tokens_are_predicted_from_no_more_of_them(
    model, measured
):
    ids = documents(model)[: LENGTH + 1]
    trained = model.experiment.seq_len
    np.testing.assert_array_equal(measured.cut[:, :trained], measured.nats[:, :trained])
    for position in range(trained, LENGTH):
        start = (position // 32 - 1) * 32
        again = nats(model, ids[start : position + 2])
        assert position - start < trained
        assert measured.cut[0, position] == pytest.approx(again[-1], rel=1e-4)


def test_parts_are_means_with_a_paired_error(measured):
    part = measured.part(1, 2)
    assert part is not None
    change = (measured.nats - measured.cut)[:, 64:128].mean(1)
    assert part.loss == pytest.approx(measured.nats[:, 64:128].mean())
    assert part.change == pytest.approx(change.mean())
    groups = [change[:2] - change.mean(), change[2:] - change.mean()]
    variance = 2 / 1 * sum(group.sum() ** 2 for group in groups) / 5**2
    assert measured.documents.tolist() == sorted(measured.documents)
    assert part.error == pytest.approx(np.sqrt(variance))
    assert measured.part(2, 4) is None
    within = measured.part(0.5, 1)
    assert within is not None
    assert within.change == 0


def test_learned_positions_end_at_the_context(model):
    experiment = model.experiment
    learned = dataclasses.replace(experiment.model, position=Learned(), context_length=64)
    assert positions(dataclasses.replace(experiment, model=learned)) == "learned"
    relative = dataclasses.replace(experiment.model, position=Relative())
    assert positions(dataclasses.replace(experiment, model=relative)) == "relative"


def test_documents_that_are_too_short_are_one_message(model):
    with pytest.raises(ConfigError, match="--max-length=9999 is longer than every held-out docu"):
        loss_by_position(model, "nano", documents(model), 9999, 5)


def test_the_command_prints_a_table_and_writes_a_page(trained, tmp_path, run_here):
    out = tmp_path / "length.html"
    flags = ["length", "--runs", str(trained.workdir), "--max-length=96", f"--out={out}"]
    outcome = run_here(scaling.main, *flags)
    assert outcome.code == 0, outcome.stderr
    assert "Loss by position" in outcome.stdout
    assert "rotary" in outcome.stdout
    page = parse(out.read_text())
    assert page.tags.count("figure") == 1
    (found,) = json.loads(run_here(scaling.main, *flags, "--json").stdout)["models"]
    assert len(found["nats"]) == 96
    assert found["parts"]["1 to 2"] is None
    assert found["parts"]["1/2 to 1"]["loss"] > 0


def test_a_run_that_is_not_there_is_named_with_its_flag(run_here):
    outcome = run_here(scaling.main, "length", "--runs", "/nowhere")
    assert outcome.code == 3
    assert "--runs=/nowhere: there is no such folder" in outcome.stderr


@pytest.mark.parametrize("flag", ["--max-length=0", "--max-windows=-1", "--out=a.txt"])
def test_a_mistake_is_one_message(flag, run_here):
    outcome = run_here(scaling.main, "length", "--runs", "nowhere", flag)
    assert outcome.code == 2
    assert flag.split("=")[0] in outcome.stderr
