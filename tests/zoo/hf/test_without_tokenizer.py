"""A Hugging Face folder without a tokenizer: another folder's, or token ids only."""

import json
from pathlib import Path

import numpy as np
import pytest

import zoo
from data.errors import DataConfigError
from data.vocabularies.files import vocabulary_from_files
from data.vocabularies.hugging_face import TokenIds
from data.vocabularies.lossless import train_vocabulary
from models.config import ConfigError
from tests.zoo import hf_folders
from zoo import convert, evaluate, sample, train
from zoo.inference.decode import Sampling

GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A folder with weights only, not to be changed."""
    folder = tmp_path_factory.mktemp("hf") / "bare"
    hf_folders.make(folder, hf_folders.CONFIGS["gpt2"] | {"eos_token_id": 7, "bos_token_id": None})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


@pytest.fixture(scope="module")
def imported(bare: Path, tmp_path_factory) -> Path:
    """Not to be changed."""
    out = tmp_path_factory.mktemp("imported") / "bare"
    convert.main([f"--from-hf={bare}", f"--out={out}", "--tokenizer=none"])
    return out


def test_it_is_refused_unless_the_user_says_so(bare, tmp_path, run_here):
    outcome = run_here(convert.main, f"--from-hf={bare}", f"--out={tmp_path / 'out'}")
    assert outcome.code == 3
    assert "--tokenizer=DIR" in outcome.stderr and "--tokenizer=none" in outcome.stderr
    assert list(tmp_path.iterdir()) == []
    outcome = run_here(
        convert.main, f"--from-hf={bare}", f"--out={tmp_path / 'out'}", "--tokenizer=none"
    )
    assert outcome.code == 0
    assert "no tokenizer: the model takes and gives token ids only" in outcome.stderr
    assert "--ids 0 1 2" in outcome.stderr


def test_a_tokenizer_of_another_folder_is_used(bare, tmp_path, run_here):
    other = tmp_path / "other"
    other.mkdir()
    hf_folders.write_bpe(other)
    out = tmp_path / "out"
    outcome = run_here(convert.main, f"--from-hf={bare}", f"--out={out}", f"--tokenizer={other}")
    assert outcome.code == 0, outcome.stderr
    assert len(zoo.load(out).sample(["a model"], max_tokens=2)) == 1


def test_the_model_continues_and_scores_ids_as_transformers_does(bare, imported):
    model = zoo.load(imported)
    assert isinstance(model.vocabulary, TokenIds)
    assert (model.vocabulary.start, model.vocabulary.end) == ([], [7])
    prompt = hf_folders.tokens(5)[0].tolist()
    ids = list(prompt)
    for _ in range(4):
        ids.append(int(hf_folders.logits(bare, np.array([ids]))[0, -1].argmax()))
    new = ids[len(prompt) :]
    expected = new[: new.index(7)] if 7 in new else new
    assert model.sample_ids([prompt], max_tokens=4, sampling=GREEDY) == [expected]
    (score,) = model.score_ids([ids])
    logits = hf_folders.logits(bare, np.array([ids]))[0].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert score.num_tokens == len(ids) - 1
    assert score.log_probability == pytest.approx(
        sum(log_p[i, token] for i, token in enumerate(ids[1:])), rel=1e-4
    )
    assert model.sample_ids([]) == []


def test_text_is_refused_with_the_remedy(imported):
    model = zoo.load(imported)
    for refused in (lambda: model.sample(["a"]), lambda: model.score(["a"])):
        with pytest.raises(DataConfigError, match="--tokenizer=DIR, or give ids"):
            refused()


@pytest.mark.parametrize("prompt", [[], [-1], [hf_folders.VOCAB_SIZE], [1] * 32])
def test_ids_that_do_not_fit_are_refused(prompt, imported):
    with pytest.raises(ConfigError, match="token ids"):
        zoo.load(imported).sample_ids([prompt])


def test_the_commands_take_ids_or_say_what_to_do(imported, corpus_glob, tmp_path, run_here):
    checkpoint = f"--checkpoint={imported}"
    flags = [checkpoint, "--ids", "5", "6", "--max-tokens=3", "--temperature=0"]
    outcome = run_here(sample.main, *flags)
    assert outcome.code == 0, outcome.stderr
    ids = [int(word) for word in outcome.stdout.split()]
    assert ids[:2] == [5, 6]
    outcome = run_here(sample.main, *flags, "--json")
    assert json.loads(outcome.stdout)["samples"] == [{"prompt": [5, 6], "ids": ids[2:]}]
    for main, more in (
        (sample.main, ["--prompt=a"]),
        (evaluate.main, [f"--data.files={corpus_glob}"]),
    ):
        outcome = run_here(main, checkpoint, *more)
        assert outcome.code == 2
        assert "import it again with --tokenizer=DIR" in outcome.stderr
    outcome = run_here(sample.main, *flags, "--prompt=a")
    assert outcome.code == 2
    assert "leave out --prompt" in outcome.stderr


def test_training_from_it_needs_a_vocabulary(imported, corpus_glob, tmp_path, run_here):
    flags = [
        f"--init-from={imported}",
        f"--data.files={corpus_glob}",
        f"--workdir={tmp_path / 'run'}",
        "--batch-tokens=124",
        "--num-steps=1",
    ]
    outcome = run_here(train.main, *flags)
    assert outcome.code == 2
    assert "--data.vocabulary" in outcome.stderr
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    for name, content in train_vocabulary([hf_folders.TEXT], 290).to_files().items():
        (folder / name).write_bytes(content)
    outcome = run_here(train.main, *flags, f"--data.vocabulary={folder}")
    assert outcome.code == 0, outcome.stderr
    assert len(zoo.load(tmp_path / "run").sample(["a "], max_tokens=2)) == 1


def test_it_is_exported_without_a_tokenizer(bare, imported, tmp_path, run_here):
    out = tmp_path / "out"
    outcome = run_here(convert.main, f"--to-hf={out}", f"--checkpoint={imported}")
    assert outcome.code == 0, outcome.stderr
    assert not any(path.name.startswith(("tokenizer", "ids", "marks")) for path in out.iterdir())
    tokens = hf_folders.tokens()
    np.testing.assert_allclose(
        hf_folders.logits(out, tokens), hf_folders.logits(bare, tokens), rtol=1e-5
    )


def test_the_ids_travel_with_the_checkpoint(imported):
    vocabulary = zoo.load(imported).vocabulary
    copy = vocabulary_from_files(vocabulary.to_files())
    assert isinstance(copy, TokenIds)
    assert (copy.size, copy.eos_id) == (hf_folders.VOCAB_SIZE, 7)
    assert copy.fingerprint == vocabulary.fingerprint
