import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.config import Data
from data.corpus import read_corpus
from data.errors import DataConfigError, DataError
from data.training_data import TrainingData, load
from data.vocabularies import Vocabulary
from tests.data.samples import small_documents

SECOND_RUN = """
import sys
import data.pipeline, data.vocabularies
from data.config import Data
from data.training_data import load

loaded = load(Data(files=sys.argv[1], cache_dir=sys.argv[2]), vocab_size=320, seq_len=32,
              batch_size=4, report=print)
loaded.train.train_batch(0)
loaded.baselines()
assert not {"tensorflow", "seqio", "jax", "tensorflow_datasets"} & set(sys.modules)
"""


def no_report(line: str) -> None:
    assert line


def load_files(
    folder: Path,
    *,
    files: str = "*.py",
    seed: int = 0,
    vocab_size: int = 320,
    seq_len: int = 32,
    batch_size: int = 4,
    vocabulary: Vocabulary | None = None,
    report: Callable[[str], None] = no_report,
) -> TrainingData:
    return load(
        Data(files=f"{folder}/{files}", cache_dir=f"{folder}/cache", seed=seed),
        vocab_size=vocab_size,
        seq_len=seq_len,
        batch_size=batch_size,
        vocabulary=vocabulary,
        report=report,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    for document in small_documents(40):
        (tmp_path / document.name).write_text(document.text)
    return tmp_path


def test_the_batches_are_the_text(folder):
    lines: list[str] = []
    loaded = load_files(folder, report=lines.append)
    assert [line.split(" ")[0] for line in lines] == ["text:", "trained", "encoded"]

    corpus = read_corpus(Data(files=f"{folder}/*.py"))
    for windows, documents in (
        (loaded.train, corpus.train),
        (loaded.validation, corpus.validation),
    ):
        ids = [loaded.vocabulary.bos_id]
        for batch in windows.eval_batches(4):
            ids += batch["targets"][batch["segment_ids"] > 0].tolist()
        assert ids == [
            token_id
            for document in documents
            for token_id in (
                loaded.vocabulary.bos_id,
                *loaded.vocabulary.encode(document.text),
                loaded.vocabulary.eos_id,
            )
        ]
    assert loaded.num_validation_bytes == sum(len(d.text.encode()) for d in corpus.validation)
    assert loaded.num_train_tokens == len(loaded.train.tokens)
    assert loaded.num_validation_tokens == len(loaded.validation.tokens)
    assert loaded.baselines().keys() == {"xz -9", "byte 5-gram"}


def test_a_second_run_needs_no_tensorflow(folder):
    load_files(folder)
    run = subprocess.run(
        [sys.executable, "-c", SECOND_RUN, f"{folder}/*.py", f"{folder}/cache"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == ""


def test_a_given_vocabulary_is_used(folder, vocabulary):
    loaded = load_files(folder, vocabulary=vocabulary, vocab_size=400)
    assert loaded.vocabulary is vocabulary
    assert not list(folder.rglob("*.model"))
    with pytest.raises(DataConfigError, match=r"model\.vocab_size=319 .* at least 320"):
        load_files(folder, vocabulary=vocabulary, vocab_size=319)


def test_the_fingerprint_tells_what_changed(folder):
    original = load_files(folder)
    others = {
        "vocabulary": load_files(folder, vocab_size=330),
        "seq_len": load_files(folder, seq_len=31),
        "batch_size": load_files(folder, batch_size=5),
        "seed": load_files(folder, seed=1),
    }
    (folder / "0.py").write_text("other")
    others["corpus"] = load_files(folder, vocabulary=original.vocabulary)
    assert others.keys() == original.fingerprint.keys()
    for changed, other in others.items():
        differing = {key for key, value in other.fingerprint.items() - original.fingerprint.items()}
        assert differing == {changed}


def test_the_same_text_has_the_same_fingerprint(folder):
    assert load_files(folder).fingerprint == load_files(folder).fingerprint


def test_the_seed_orders_the_training_and_not_the_evaluation(folder):
    one, other = load_files(folder, seed=1), load_files(folder, seed=2)
    first, second = one.train.train_batch(0), other.train.train_batch(0)
    assert not np.array_equal(first["inputs"], second["inputs"])
    batches = zip(one.validation.eval_batches(4), other.validation.eval_batches(4), strict=True)
    for a, b in batches:
        np.testing.assert_array_equal(a["inputs"], b["inputs"])


def test_one_file_is_enough(folder):
    loaded = load_files(folder, files="1.py", vocabulary=load_files(folder).vocabulary, seq_len=8)
    whole = (folder / "1.py").read_text()
    text = loaded.vocabulary.decode([*loaded.train.tokens, *loaded.validation.tokens])
    assert text == whole


@pytest.mark.parametrize(("seq_len", "split"), [(10_000, "train"), (400, "validation")])
def test_a_text_shorter_than_one_sequence_is_explained(folder, seq_len, split):
    with pytest.raises(DataError, match=rf"The {split} text of data\.files=.* seq_len \+ 1"):
        load_files(folder, seq_len=seq_len)


def test_a_text_of_exactly_one_sequence_is_enough(folder):
    length = load_files(folder).num_validation_tokens
    assert len(load_files(folder, seq_len=length - 1).validation) == 1
    with pytest.raises(DataError, match=rf"has {length} tokens, .* seq_len \+ 1 = {length + 1}"):
        load_files(folder, seq_len=length)


def test_a_vocabulary_too_large_for_the_text_writes_nothing(folder):
    with pytest.raises(DataConfigError, match=r"model\.vocab_size=9999 .* at most"):
        load_files(folder, vocab_size=9999)
    assert not (folder / "cache").exists()


def test_a_damaged_token_cache_is_refused(folder):
    load_files(folder)
    (tokens,) = folder.rglob("train.tokens")
    tokens.write_bytes(tokens.read_bytes()[:-10])
    with pytest.raises(DataError, match=f"{tokens.parent} is damaged .* Delete it"):
        load_files(folder)
