import lzma
import random

import numpy as np
import pytest

from data.text import baselines
from data.text.baselines import cached_baselines
from data.text.corpus import PresplitCorpus
from data.text.ngram import Ngram


def test_baselines_are_measured_on_the_validation_bytes(tmp_path):
    rng = random.Random(0)
    texts = ["".join(rng.choices(["é", "data", "date", "\n"], k=2000)) for _ in range(3)]
    splits = {"train": texts[:1], "validation": texts[1:]}
    corpus = PresplitCorpus("here", "here", "fingerprint", lambda split: iter(splits[split]))
    measured = cached_baselines([corpus], tmp_path)

    validation_bytes = [text.encode() for text in texts[1:]]
    seen, *held_out = (np.frombuffer(text.encode(), np.uint8) for text in texts)
    joined = b"".join(validation_bytes)
    assert measured == {
        "xz -9": 8 * len(lzma.compress(joined, preset=9)) / len(joined),
        "byte 5-gram": Ngram.count([seen], 5, 256).bits(held_out),
    }


def test_without_training_text_there_is_no_ngram():
    train, validation = [b"data " * 100], [b"date " * 100]
    with_text = baselines.measure(train, validation)
    assert set(with_text) == {"xz -9", "byte 5-gram"}
    assert baselines.measure([], validation) == {"xz -9": with_text["xz -9"]}


def test_baselines_are_measured_once(tmp_path, corpus, monkeypatch):
    measured = cached_baselines([corpus], tmp_path)
    assert measured["byte 5-gram"] < 2
    monkeypatch.delattr(baselines, "measure")
    assert cached_baselines([corpus], tmp_path) == measured


def test_damaged_baselines_are_measured_again(tmp_path, corpus):
    measured = cached_baselines([corpus], tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(path.read_bytes()[:-5])
    assert cached_baselines([corpus], tmp_path) == pytest.approx(measured)


def test_a_large_corpus_is_measured_on_a_part(tmp_path, corpus, monkeypatch):
    seen = {}
    monkeypatch.setattr(baselines, "_MAX_TRAIN_BYTES", 2000)
    monkeypatch.setattr(baselines, "_MAX_VALIDATION_BYTES", 101)
    monkeypatch.setattr(baselines, "measure", lambda *texts: seen.update(enumerate(texts)) or {})
    cached_baselines([corpus, corpus], tmp_path)
    assert 0 < sum(map(len, seen[0])) < 4000
    assert [sum(map(len, texts)) for texts in (seen[1][:1], seen[1])] == [50, 100]
