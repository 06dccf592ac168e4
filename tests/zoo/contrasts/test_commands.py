"""Models with an encoder in the hands of a user: trained, resumed, sampled from and evaluated."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

import configs
import zoo
from configs.experiment import Mesh
from models.config import ConfigError
from tests.models import experiments
from zoo import compare, evaluate, sample, train
from zoo.contrasts.loading import load
from zoo.contrasts.masked_text import MaskedTextModel, encoder_logits
from zoo.contrasts.text_to_text import TextToTextModel
from zoo.distribution.sharding import make_mesh, rules_for
from zoo.inference.decode import Sampling
from zoo.runs.metrics import read_metrics
from zoo.training.program import Program

REPOSITORY = Path(__file__).parents[3]
NAMES = ["bert", "t5", "transformer"]
FLAGS = {
    "bert": [
        "--data.vocabulary-size=397",
        "--objective.cls-id=397",
        "--objective.sep-id=398",
        "--objective.mask-id=399",
    ],
    "t5": ["--data.vocabulary-size=390", "--objective.first-sentinel=399"],
    "transformer": [],
}
"""The marks of models whose vocabulary suits the session's small text."""


def flags_of(name: str, workdir: Path, corpus_glob: str) -> list[str]:
    own = ["--model.vocab-size=400", *FLAGS[name]]
    return [f"--model={name}_nano", f"--workdir={workdir}", f"--data.files={corpus_glob}", *own]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, corpus_glob) -> dict[str, Path]:
    """A finished run of each contrast: twenty steps on a small text."""
    folders = {}
    for name in NAMES:
        folders[name] = tmp_path_factory.mktemp("runs") / name
        train.main(flags_of(name, folders[name], corpus_glob))
    return folders


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_a_loss_and_no_bits_per_byte(name: str, runs):
    rows = read_metrics(runs[name])
    assert [row["step"] for row in rows] == list(range(1, 21))
    evaluated = [row for row in rows if "eval/loss" in row]
    assert [row["step"] for row in evaluated] == [10, 20]
    assert evaluated[1]["eval/loss"] < evaluated[0]["eval/loss"] < math.log(400) + 1
    assert not any("eval/bits_per_byte" in row for row in rows)
    assert ("train/next_sentence_loss" in rows[0]) is (name == "bert")
    page = (runs[name] / "report.html").read_text()
    assert configs.CONTRASTS[name].PAPER.title in page


@pytest.mark.parametrize("name", NAMES)
def test_a_run_resumes_to_the_bit(name: str, runs, tmp_path: Path, corpus_glob, run_here):
    """From the checkpoint of step 10, after that of step 20 is lost."""
    copy = Path(shutil.copytree(runs[name], tmp_path / "copy"))
    shutil.rmtree(copy / "checkpoints/20")
    outcome = run_here(train.main, *flags_of(name, copy, corpus_glob))
    assert outcome.code == 0, outcome.stderr
    before, after = (read_metrics(at) for at in (runs[name], copy))
    names = [key for key in before[-1] if key.startswith(("train/", "eval/"))]
    assert len(names) > 10
    for one, other in zip(before[10:], after[10:], strict=True):
        assert [one.get(key) for key in names] == [other.get(key) for key in names]


def step_on(name: str, mesh: Mesh) -> list[float]:
    """The losses and the norm of the gradients of a step on one or on eight devices."""
    run = configs.get(f"{name}_nano")
    model = dataclasses.replace(run.model, dropout_rate=0.0)
    execution = dataclasses.replace(run.execution, dtype="float32")
    run = dataclasses.replace(run, model=model, execution=execution, mesh=mesh)
    text = np.random.default_rng(0).integers(1, 400, size=(8, 64), dtype=np.int32)
    batch = {
        "inputs": text,
        "targets": text,
        "positions": np.broadcast_to(np.arange(64, dtype=np.int32), text.shape),
        "segment_ids": np.ones_like(text),
        "weights": np.ones(text.shape, np.float32),
    }
    program = Program(run, make_mesh(mesh, 1 if mesh.data == 1 else 8))
    with program.entered():
        put = program.batch_layout.put
        state, metrics = program.train_step(program.init(), put(batch))
        nats = program.eval_step(state.params, put(batch)).nats
    return [float(metrics["train/loss"]), float(metrics["train/grad_norm"]), float(nats)]


def steps_on_both() -> list[list[list[float]]]:
    meshes = (Mesh(data=1), Mesh(data=2, fsdp=2, tensor=2))
    return [[step_on(name, mesh) for mesh in meshes] for name in NAMES]


def test_a_mesh_computes_the_same_loss():
    for one, eight in experiments.on_eight_devices(steps_on_both):
        np.testing.assert_allclose(one, eight, rtol=2e-5)


def test_losses_of_different_objectives_are_not_compared(runs, run_here, tmp_path):
    folders = (str(runs["bert"]), str(runs["t5"]))
    outcome = run_here(compare.main, *folders, f"--out={tmp_path}/both.html")
    assert outcome.code == 0, outcome.stderr
    printed = " ".join(outcome.stdout.split())
    assert "the objectives differ: the losses are in nats per hidden token, nats per" in printed


def test_an_encoder_fills_each_gap_by_itself(runs, run_here):
    outcome = run_here(
        sample.main, f"--checkpoint={runs['bert']}", "--prompt", "def [MASK]([MASK]):", "--json"
    )
    (found,) = json.loads(outcome.stdout)["samples"]
    assert len(found["gaps"]) == 2
    for gap in found["gaps"]:
        assert [each["probability"] for each in gap] == sorted(
            (each["probability"] for each in gap), reverse=True
        )
    first, second = (gap[0]["text"] for gap in found["gaps"])
    assert found["text"] == f"def {first}({second}):"
    model = load(runs["bert"])
    assert isinstance(model, MaskedTextModel)
    (alone,) = model.fill(["def [MASK]([MASK]):"], num_candidates=2)
    assert [len(gap) for gap in alone.gaps] == [2, 2]
    assert alone.text == found["text"]


def test_the_pseudo_log_likelihood_hides_every_token_in_turn(runs):
    """By hand: one sequence after the other, of which every logit is computed."""
    model = load(runs["bert"])
    assert isinstance(model, MaskedTextModel)
    ids = model.vocabulary.encode("def main():\n    return self.name\n" * 6)
    assert model.room == 62 < len(ids)
    expected = 0.0
    for window in (ids[start : start + 62] for start in range(0, len(ids), 62)):
        row = np.array([397, *window, 398])[None]
        for column in range(1, len(window) + 1):
            hidden = row.copy()
            hidden[0, column] = 399
            logits = encoder_logits(model.graphdef, model.params, jax.numpy.asarray(hidden))
            expected += float(jax.nn.log_softmax(logits[0, column])[row[0, column]])
    score = model.pseudo_score_ids(ids)
    assert score.pseudo_log_likelihood == pytest.approx(expected, rel=1e-5)
    assert score.num_tokens == len(ids) and 0 <= score.num_best <= len(ids)


def test_an_encoder_is_evaluated_by_its_pseudo_log_likelihood(runs, run_here):
    outcome = run_here(evaluate.main, f"--checkpoint={runs['bert']}", "--max-tokens=300")
    assert outcome.code == 0, outcome.stderr
    assert "nats per hidden token" in outcome.stdout
    assert "pseudo-log-likelihood of the first 301 tokens" in outcome.stdout
    assert "no probability of the text: not comparable with bits per byte" in outcome.stdout
    assert "bits per byte " not in outcome.stdout
    again = run_here(evaluate.main, f"--checkpoint={runs['bert']}", "--max-tokens=300", "--json")
    found = json.loads(again.stdout)
    assert found["eval/bits_per_byte"] is None
    pseudo = found["pseudo_log_likelihood"]
    assert pseudo["nats_per_token"] == pytest.approx(pseudo["nats"] / 301)
    page = (REPOSITORY / "docs/json.md").read_text()
    assert [field for field in (*found, *pseudo) if f"`{field}`" not in page] == []


def test_a_continuation_is_scored_given_the_text_before_it(runs, run_here):
    """Every token but those of the first 32 is predicted, each from at least 32 before it."""
    outcome = run_here(
        evaluate.main, f"--checkpoint={runs['transformer']}", "--max-tokens=200", "--json"
    )
    found = json.loads(outcome.stdout)
    assert found["num_tokens"] == 200 - 32
    assert found["pseudo_log_likelihood"] is None
    assert 0 < found["eval/bits_per_byte"] < 8


def test_scores_of_pairs_are_those_of_the_logits(runs):
    model = load(runs["transformer"])
    assert isinstance(model, TextToTextModel)
    (together,) = model.score([("import os", "\nimport sys")])
    assert -200 < together < 0
    (other,) = model.score([("import os", "\nimport")])
    assert together < other  # more tokens, less probable


@pytest.mark.parametrize("name", ["t5", "transformer"])
def test_a_decoder_writes_what_a_seed_says(name: str, runs):
    model = load(runs[name])
    assert isinstance(model, TextToTextModel)
    sources = ["import os\n", "def main(argv):\n    pass"]
    texts = model.sample(sources, max_tokens=20, seed=1)
    assert texts == model.sample(sources, max_tokens=20, seed=1)
    greedy = Sampling(temperature=0)
    both = model.sample(sources, max_tokens=20, sampling=greedy)
    assert both == [model.sample([each], max_tokens=20, sampling=greedy)[0] for each in sources]
    ids = [model.vocabulary.encode(each) for each in sources]
    assert all(len(row) <= 20 for row in model.sample_ids(ids, max_tokens=20))


def test_spans_are_named_and_end(runs, run_here):
    outcome = run_here(
        sample.main,
        f"--checkpoint={runs['t5']}",
        "--prompt",
        "import [SPAN], sys",
        "--max-tokens=40",
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.startswith("import [SPAN], sys")
    assert outcome.stdout.count("[SPAN]") <= 2


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("bert", ["--prompt", "import os"], r"has no \[MASK\], and an encoder fills gaps"),
        ("bert", ["--prompt", "[MASK]" + "a b " * 90], "has room for 62; shorten it"),
        ("bert", ["--prompt", "[MASK]", "--weights=int8"], "--weights is for a decoder"),
        ("transformer", ["--prompt", ""], "an encoder needs a text to read"),
        ("t5", ["--ids", "1", "2"], "--ids is for a decoder"),
    ],
)
def test_a_refusal_says_what_to_write(name: str, flags, message: str, runs):
    with pytest.raises(ConfigError, match=message):
        sample.main([f"--checkpoint={runs[name]}", *flags])


def test_what_is_about_decoders_says_so(runs, corpus_glob):
    with pytest.raises(ConfigError, match=r"has an encoder.* zoo\.contrasts\.loading\.load"):
        zoo.load(runs["bert"])
    with pytest.raises(ConfigError, match="has an encoder, for which there is only --step"):
        evaluate.main([f"--checkpoint={runs['t5']}", "--stride=3"])
    run = configs.get("t5_nano")
    shape = AbstractMesh((1, 1, 1, 2, 1), ("pipeline", "data", "fsdp", "sequence", "tensor"))
    with pytest.raises(ConfigError, match="pipeline and sequence are for decoders"):
        rules_for(run, shape)
    short = ["--model=bert_nano", f"--workdir={runs['bert']}-short", "--seq-len=4"]
    with pytest.raises(ConfigError, match="seq_len=4 is too short .* write --seq-len=5 or more"):
        train.main([*short, "--batch-tokens=32", *flags_of("bert", runs["bert"], corpus_glob)[2:]])
    auto = ["--model=bert_nano", f"--workdir={runs['bert']}-auto", "--micro-batches=auto"]
    with pytest.raises(ConfigError, match="the planner, .* knows decoders only"):
        train.main(auto)
