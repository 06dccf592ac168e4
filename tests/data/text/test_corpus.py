import itertools
import os
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.config import Files
from data.errors import DataError
from data.text import corpus, survey
from data.text.corpus import PresplitCorpus, file_corpus
from data.text.files import Document, TextFiles
from data.text.survey import read_survey, survey_path, take_survey
from tests.data.samples import corpus_of


def documents(texts):
    return [Document(f"{index:03}", text) for index, text in enumerate(texts)]


def split(texts):
    """Return training and held-out texts."""
    both = corpus_of(documents(texts))
    return tuple([d.text for d in both.documents(s)] for s in corpus.SPLITS)


@pytest.mark.parametrize("count", [1, 19])
def test_few_documents_each_give_their_last_lines(count):
    whole = ["".join(f"document {i}, line {j}\n" for j in range(200)) for i in range(count)]
    train, validation = split(whole)
    assert [a + b for a, b in zip(train, validation, strict=True)] == whole
    for text, tail in zip(train, validation, strict=True):
        assert text.endswith("\n")
        assert 0.05 <= len(tail) / len(text + tail) <= 0.1


def test_a_document_without_line_ends_is_cut_between_characters():
    assert split(["title\n" + "é" * 994]) == (["title\n" + "é" * 944], ["é" * 50])


@given(st.lists(st.text(min_size=20), min_size=20, max_size=60, unique=True))
def test_many_documents_stay_whole_and_some_are_held_out(texts):
    train, validation = split(texts)
    assert train
    assert validation
    assert sorted(train + validation) == sorted(texts)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=20, max_size=60))
def test_no_text_is_in_both_splits_however_often_it_comes(texts):
    both = corpus_of(documents(texts))
    held_out = [d.text for d in both._read("validation")]
    if set(texts) <= set(held_out):
        with pytest.raises(DataError, match="has no text to"):
            split(texts)
    else:
        train, validation = split(texts)
        assert not set(train) & set(validation)
        assert set(train) | set(validation) == set(texts)


def test_documents_stay_in_their_split_when_others_come():
    texts = [f"text {index}" for index in range(1000)]
    (train, validation), (more_train, more_validation) = split(texts[:500]), split(texts)
    assert set(train) < set(more_train)
    assert set(validation) < set(more_validation)


def test_a_copy_of_a_held_out_text_is_not_trained_on():
    texts = [f"text {index}" for index in range(500)]
    original = corpus_of(documents(texts))
    held_out = list(original.documents("validation"))
    copies = [Document(f"copy {number}", held_out[0].text) for number in range(40)]
    both = corpus_of([*documents(texts), *copies])
    assert held_out[0].text not in {d.text for d in both.documents("train")}
    assert set(held_out) <= set(both.documents("validation"))
    assert any(copy not in held_out for copy in copies)


def test_no_more_is_held_out_than_an_evaluation_should_read(monkeypatch):
    monkeypatch.setattr(survey, "_MAX_VALIDATION_BYTES", 100)
    given_documents = documents([f"text {index:05}" for index in range(2000)])
    taken = take_survey(given_documents, [])
    assert (taken.num_held_out, taken.held_out_bytes) == (10, 100)
    assert len(list(corpus_of(given_documents).documents("validation"))) == 10
    _, validation = split(["x" * 99_999 + "\n"])
    assert sum(map(len, validation)) == 100


def test_the_fingerprint_depends_on_names_and_texts():
    given_documents = documents([f"text {index}" for index in range(50)])
    fingerprint = take_survey(given_documents, []).fingerprint
    assert take_survey(iter(given_documents), []).fingerprint == fingerprint
    first, *rest = given_documents
    others = [
        [replace(first, name="other"), *rest],
        [replace(first, text="other"), *rest],
        rest,
        rest[::-1],
    ]
    assert len({fingerprint, *(take_survey(other, []).fingerprint for other in others)}) == 5
    ab, a = (take_survey([Document(*d)], []) for d in (("ab", "c"), ("a", "bc")))
    assert ab.fingerprint != a.fingerprint


def test_a_sample_is_even_and_is_everything_if_that_is_little():
    texts = [f"text {index:05}" for index in range(2000)]
    everything = [d.text for d in corpus_of(documents(texts)).documents("train")]
    assert list(corpus_of(documents(texts)).training_sample(20_000)) == everything
    some = list(corpus_of(documents(texts)).training_sample(5_000))
    assert 400 < len(some) < 600
    assert 0.4 < sum(text < texts[1000] for text in some) / len(some) < 0.6


def test_a_corpus_with_its_own_splits_keeps_them_apart():
    texts = {"train": ["a", "b", "", "c"], "validation": ["b", "d"]}
    own = PresplitCorpus(
        "own", "here", "f", lambda s: iter(texts[s]), {"train": 4, "validation": 2}
    )
    assert [d.text for d in own.documents("train")] == list(own.texts("train")) == ["a", "c"]
    assert list(own.texts("validation")) == ["b", "d"]
    assert list(own.training_sample(1)) == ["a"]
    assert own.describe() == "4 documents to train on, 2 held out"


@pytest.mark.parametrize("split", corpus.SPLITS)
def test_an_empty_split_is_refused(split):
    own = PresplitCorpus("own", "here", "f", lambda s: iter([]))
    with pytest.raises(DataError, match="here has no text to (train on|hold out)"):
        list(own.documents(split))


def test_a_corpus_of_copies_is_refused():
    with pytest.raises(DataError, match="here has no text to train on"):
        split(["the same"] * 30)


class Folder:
    """The files of a corpus, and the cache of their surveys."""

    def __init__(self, path):
        self.path = path / "files"
        self.path.mkdir()
        self.cache = path / "cache"
        for index in range(30):
            (self.path / f"{index}.txt").write_text(f"text {index}")
        self.make_old()

    def make_old(self):
        for file in self.path.iterdir():
            os.utime(file, (1e9, 1e9))

    def read(self, path=None, **options):
        files = TextFiles.matching(Files(f"{path or self.path}/*.txt", **options))
        return file_corpus("files", "here", files, self.cache)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_files_are_read_again_only_when_they_changed(folder, monkeypatch):
    first = folder.read()
    monkeypatch.setattr(corpus, "take_survey", lambda *_: pytest.fail("read again"))
    again = folder.read()
    assert again.fingerprint == first.fingerprint
    assert again.describe() == first.describe()
    monkeypatch.undo()
    (folder.path / "1.txt").write_text("TEXT 1")
    assert folder.read().fingerprint != first.fingerprint


def test_files_that_changed_just_before_are_read_again(folder):
    (folder.path / "1.txt").write_text("one 1")
    changed_ns = time.time_ns()
    os.utime(folder.path / "1.txt", ns=(changed_ns, changed_ns))
    first = folder.read()
    (folder.path / "1.txt").write_text("two 1")
    os.utime(folder.path / "1.txt", ns=(changed_ns, changed_ns))
    assert folder.read().fingerprint != first.fingerprint


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]"])
def test_a_damaged_survey_is_taken_again(folder, content):
    first = folder.read()
    (path,) = folder.cache.rglob("*.json")
    path.write_bytes(content)
    assert folder.read().fingerprint == first.fingerprint


def test_a_survey_is_saved_by_its_key(tmp_path):
    assert survey_path(tmp_path, "a") != survey_path(tmp_path, "b")
    assert read_survey(survey_path(tmp_path, "a")) is None
    taken = take_survey(documents(["a", "b"]), ["c is damaged"])
    taken.save(survey_path(tmp_path, "a"))
    assert read_survey(survey_path(tmp_path, "a")) == taken


def test_a_moved_folder_is_the_same_corpus(folder, tmp_path):
    first = folder.read()
    folder.path.rename(tmp_path / "there")
    assert folder.read(tmp_path / "there").fingerprint == first.fingerprint


def test_damaged_files_that_are_left_out_are_counted(folder):
    (folder.path / "photo.txt").write_bytes(b"12345\xff")
    with pytest.raises(DataError, match=r"photo\.txt is not UTF-8"):
        folder.read()
    folder.make_old()
    for _ in range(2):  # the second time from the saved survey
        text = folder.read(on_error="skip").describe()
        assert "left out 1 damaged, the first: " in text
        assert "photo.txt" in text


def test_a_file_that_changes_meanwhile_stops_the_survey(folder, monkeypatch):
    names = itertools.count()
    monkeypatch.setattr(TextFiles, "listing", lambda self: [("x", 0, next(names))])
    with pytest.raises(DataError, match="the files of here changed while they were read"):
        folder.read()


def test_files_without_text_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    files = TextFiles.matching(Files(f"{tmp_path}/*.txt"))
    with pytest.raises(DataError, match="here has no text to train on, in 1 files"):
        file_corpus("files", "here", files, tmp_path / "cache")
