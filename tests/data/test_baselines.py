import lzma

import pytest

from data import baselines
from data.baselines import cached_baselines
from data.byte_ngram import ByteNgram
from data.corpus import Corpus, Document


def test_baselines_are_measured_on_the_validation_bytes(tmp_path):
    corpus = Corpus("here", (Document("a", "ab" * 50),), (Document("b", "é"), Document("c", "ab")))
    measured = cached_baselines(corpus, tmp_path)
    assert measured["xz -9"] == 8 * len(lzma.compress("éab".encode(), preset=9)) / 4
    expected = ByteNgram([b"ab" * 50]).bits_per_byte(["é".encode(), b"ab"])
    assert measured["byte 5-gram"] == expected


def test_baselines_are_measured_once(tmp_path, corpus, monkeypatch):
    measured = cached_baselines(corpus, tmp_path)
    assert measured["byte 5-gram"] < 2
    monkeypatch.delattr(baselines, "_measure")
    assert cached_baselines(corpus, tmp_path) == measured


def test_damaged_baselines_are_measured_again(tmp_path, corpus):
    measured = cached_baselines(corpus, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(path.read_bytes()[:-5])
    assert cached_baselines(corpus, tmp_path) == pytest.approx(measured)
