import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.config import Data
from data.corpus import Document, num_bytes, read_corpus, read_files, split
from data.errors import DataConfigError, DataError


def documents(texts):
    return [Document(f"{index:03}", text) for index, text in enumerate(texts)]


def split_texts(texts):
    corpus = split(documents(texts), source="here")
    return [d.text for d in corpus.train], [d.text for d in corpus.validation]


def test_the_standard_library_is_split_into_varied_parts():
    corpus = read_corpus(Data())
    assert num_bytes(corpus.train) > 5_000_000
    assert 150_000 < num_bytes(corpus.validation) < 350_000
    assert len({document.name.split("/")[0] for document in corpus.validation}) >= 10
    for document in corpus.train + corpus.validation:
        assert document.name.endswith(".py")
        assert not {"test", "tests", "site-packages"} & set(document.name.split("/"))


@pytest.mark.parametrize("count", [1, 19])
def test_few_documents_each_give_their_last_lines(count):
    whole = ["".join(f"document {i}, line {j}\n" for j in range(200)) for i in range(count)]
    train, validation = split_texts(whole)
    assert [a + b for a, b in zip(train, validation, strict=True)] == whole
    for text, tail in zip(train, validation, strict=True):
        assert text.endswith("\n")
        assert 0.05 <= len(tail) / len(text + tail) <= 0.1


def test_a_document_without_line_ends_is_cut_between_characters():
    assert split_texts(["title\n" + "é" * 994]) == (["title\n" + "é" * 944], ["é" * 50])


@given(st.lists(st.text(min_size=20), min_size=20, max_size=60, unique=True))
def test_many_documents_are_kept_whole_and_some_are_held_out(texts):
    train, validation = split_texts(texts)
    assert train
    assert validation
    assert sorted(train + validation) == sorted(texts)


def test_documents_stay_on_their_side_when_others_come():
    texts = [f"text {index}" for index in range(1000)]
    some, more = (split(documents(texts[:count]), source="here") for count in (500, 1000))
    assert set(some.train) < set(more.train)
    assert set(some.validation) < set(more.validation)


def test_no_text_is_both_trained_on_and_held_out():
    texts = [f"text {index}" for index in range(500)]
    original = split(documents(texts), source="here")
    copy = Document("copy of it", original.validation[0].text)
    names = (f"copy {number}" for number in itertools.count())
    while copy in split([*documents(texts), copy], source="here").validation:
        copy = replace(copy, name=next(names))
    corpus = split([*documents(texts), copy], source="here")
    assert copy in corpus.train
    assert corpus.validation == original.validation[1:]


def test_the_fingerprint_is_of_names_texts_and_sides_not_of_order():
    given_documents = documents([f"text {index}" for index in range(50)])
    corpus = split(given_documents, source="here")
    assert split(given_documents[::-1], source="there").fingerprint == corpus.fingerprint
    first, *rest = corpus.train
    others = [
        replace(corpus, train=(replace(first, name="other"), *rest)),
        replace(corpus, train=(replace(first, text="other"), *rest)),
        replace(corpus, train=tuple(rest), validation=(first, *corpus.validation)),
    ]
    assert len({corpus.fingerprint, *(other.fingerprint for other in others)}) == 4
    ab, a = (replace(corpus, train=(Document(*d),)) for d in (("ab", "c"), ("a", "bc")))
    assert ab.fingerprint != a.fingerprint


def test_files_are_found_below_a_glob_and_read_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "notes" / "a.txt").write_bytes("\ufeffé\r\n\t\0".encode())
    (tmp_path / "notes" / "deep" / "b.txt").write_bytes(b"b")
    (tmp_path / "notes" / "c.md").write_bytes(b"c")
    expected = [Document("a.txt", "\ufeffé\r\n\t\0"), Document("deep/b.txt", "b")]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for pattern in ("~/notes/**/*.txt", str(tmp_path / "notes/**/*.txt"), "notes/**/*.txt"):
        assert sorted(read_files(pattern), key=lambda document: document.name) == expected


def test_a_moved_folder_is_the_same_corpus(tmp_path):
    fingerprints = set()
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "a.txt").write_text("line\n" * 100)
        (folder / "empty.txt").write_text("")
        fingerprints.add(read_corpus(Data(files=f"{folder}/*.txt")).fingerprint)
    assert len(fingerprints) == 1


def test_a_glob_without_files_is_explained(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"data\.files='.*/\*' matches no file\. Give"):
        read_files(f"{tmp_path}/*")


def test_a_file_that_is_not_text_is_named_with_the_byte(tmp_path):
    (tmp_path / "photo.txt").write_bytes(b"12345\xff")
    with pytest.raises(DataError, match=r"photo\.txt is not UTF-8 text: .* at byte 5\. Convert"):
        read_files(f"{tmp_path}/*.txt")


def test_a_file_that_vanished_is_named(tmp_path):
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"Cannot read .*gone\.txt: No such file"):
        read_files(f"{tmp_path}/*.txt")


def test_an_empty_corpus_is_explained(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match=r"data\.files='.*' has no text to train on"):
        read_corpus(Data(files=f"{tmp_path}/*.txt"))


def test_a_corpus_of_copies_is_explained():
    with pytest.raises(DataError, match="here has no text to hold out"):
        split_texts(["the same"] * 30)


def test_an_unknown_task_gets_the_nearest_names():
    with pytest.raises(DataConfigError, match=r"data\.task='stdlibs' .* Write one of stdlib"):
        read_corpus(Data(task="stdlibs"))
