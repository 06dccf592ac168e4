"""The text that is read has the tokens that a run's own validation has."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from data import evaluation_text, training_data
from data.batches.rows import TokenWindows
from data.batches.sizes import BatchSizes
from data.config import Data, Files, Mixture, Source
from data.errors import DataConfigError, DataError
from data.evaluation_text import EvaluationText
from data.text.corpus import Corpus
from data.training_data import TrainingData
from data.vocabularies.vocabulary import Vocabulary
from tests.data.samples import corpus_of, small_documents

SEQ_LEN, BATCH_SIZE = 32, 4


def no_report(line: str) -> None:
    assert line


@pytest.fixture
def run_text(tmp_path, corpus: Corpus) -> Data:
    """The session's corpus as a run's files, in a folder of their own."""
    folder = tmp_path / "run"
    folder.mkdir()
    for document in small_documents(60):
        (folder / document.name).write_text(document.text)
    return Data(source=Files(f"{folder}/*.py"), cache_dir=f"{tmp_path}/cache")


@pytest.fixture
def run(run_text: Data, vocabulary: Vocabulary) -> TrainingData:
    return training_data.load(
        run_text,
        vocab_size=vocabulary.size,
        seq_len=SEQ_LEN,
        sizes=BatchSizes.constant(BATCH_SIZE),
        vocabulary=vocabulary,
        report=no_report,
    )


def load(
    run_text: Data,
    run: TrainingData,
    *,
    files: str | None = None,
    source: Source | None = None,
    cache_dir: str | None = None,
    report=no_report,
) -> EvaluationText:
    return evaluation_text.load(
        run_text,
        run.fingerprint,
        source=source if files is None else Files(files),
        cache_dir=cache_dir,
        vocabulary=run.vocabulary,
        seq_len=SEQ_LEN,
        batch_size=BATCH_SIZE,
        report=report,
    )


def folder_of(run_text: Data) -> Path:
    assert isinstance(run_text.source, Files)
    return Path(run_text.source.pattern).parent


def tokens(text: EvaluationText | TrainingData) -> np.ndarray:
    rows = text.rows if isinstance(text, EvaluationText) else text.validation
    assert isinstance(rows, TokenWindows)
    return rows.tokens


def test_the_runs_own_text_is_its_validation_split(run_text, run):
    text = load(run_text, run)
    np.testing.assert_array_equal(tokens(text), tokens(run))
    assert text.num_bytes == run.num_validation_bytes
    assert text.baselines == run.baselines()
    assert text.warning is None


def test_files_have_the_tokens_that_the_seqio_task_gives_them(run_text, run, corpus, tmp_path):
    folder = tmp_path / "held out"
    folder.mkdir()
    for document in corpus.documents("validation"):
        (folder / document.name).write_text(document.text)
    (folder / "empty.py").touch()
    text = load(run_text, run, files=f"{folder}/*.py")
    np.testing.assert_array_equal(tokens(text), tokens(run))
    assert text.num_bytes == run.num_validation_bytes
    assert text.baselines == run.baselines()
    assert text.warning is None


def test_documents_of_the_training_are_counted_also_without_their_held_out_end(tmp_path):
    """With few documents each gives its end to validation: the whole file was not trained on, but
    nearly.
    """
    corpus = corpus_of(small_documents(5))
    corpora = [(corpus, Fraction(1))]
    warning = evaluation_text._seen_in_training(small_documents(5)[2:4], corpora)
    assert warning is not None
    assert "trained on 2 of these 2 documents" in warning
    held_out = list(corpus.documents("validation"))
    assert evaluation_text._seen_in_training(held_out, corpora) is None


def test_the_ngram_is_left_out_where_the_runs_text_is_gone_or_another(run_text, run, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("nothing of the kind\n")
    root = folder_of(run_text)
    (root / "0.py").write_text("changed\n")
    lines: list[str] = []
    changed = load(run_text, run, files=str(other), report=lines.append)
    assert set(changed.baselines) == {"xz -9"}
    assert any("no byte 5-gram" in line for line in lines)
    for path in root.iterdir():
        path.unlink()
    gone = load(run_text, run, files=str(other))
    assert gone.baselines == changed.baselines


def test_a_changed_text_of_the_run_is_read_with_a_warning(run_text, run, corpus):
    held_out = next(corpus.documents("validation"))
    (folder_of(run_text) / held_out.name).write_text("changed\n" * 50)
    warning = load(run_text, run).warning
    assert warning is not None
    assert "not the text that the checkpoint's run read" in warning


def test_a_mixture_is_evaluated_on_what_it_holds_out(run_text, run, tmp_path):
    for document in small_documents(30):
        (tmp_path / f"{document.name}.txt").write_text(document.text * 2)
    folder = folder_of(run_text)
    mixture = Mixture.parse([f"{folder}/*.py=1", f"{tmp_path}/*.txt=3"])
    text = load(run_text, run, source=mixture)
    assert text.source == f"the held-out part of {mixture.setting}"
    assert text.num_bytes > run.num_validation_bytes
    assert text.warning is None


def test_files_must_have_text(run_text, run, tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="every file that it matches is empty"):
        load(run_text, run, files=f"{tmp_path}/*.txt")


@pytest.mark.parametrize("max_tokens", [1, 31, 32, 33, 100])
def test_the_first_tokens_have_their_own_bytes(max_tokens, run_text, run, corpus):
    text = load(run_text, run)
    cut = text.first_tokens(max_tokens, run.vocabulary)
    assert len(tokens(cut)) == max_tokens + 1
    joined = "".join(corpus.texts("validation"))
    decoded = run.vocabulary.decode(tokens(cut).tolist())
    assert joined.startswith(decoded)
    assert cut.num_bytes == len(decoded.encode())
    assert sum(np.count_nonzero(batch["targets"]) for batch in cut.rows.eval_batches(4)) == (
        max_tokens
    )


def test_more_tokens_than_there_are_is_the_whole_text(run_text, run):
    text = load(run_text, run)
    assert text.first_tokens(10**9, run.vocabulary) is text


@pytest.mark.parametrize(
    ("packing", "of_files"), [("split", "split"), ("whole", "split"), ("unmasked", "unmasked")]
)
def test_text_is_packed_as_in_the_run_but_no_document_of_files_is_kept_whole(
    run_text, run, tmp_path, packing, of_files
):
    (tmp_path / "a.txt").write_text("one document\n")
    (tmp_path / "b.txt").write_text("and another\n")
    run_text = dataclasses.replace(run_text, packing=packing)
    assert load(run_text, run).packing == packing
    text = load(run_text, run, files=f"{tmp_path}/*.txt")
    assert text.packing == of_files
    (batch,) = text.rows.eval_batches(4)
    assert batch["segment_ids"].max() == (1 if packing == "unmasked" else 2)


def test_only_text_end_to_end_has_first_tokens(run_text, run):
    whole = load(dataclasses.replace(run_text, packing="whole"), run)
    with pytest.raises(DataConfigError, match="--max-tokens=7 needs text of one source"):
        whole.first_tokens(7, run.vocabulary)
