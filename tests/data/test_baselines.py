import lzma
import random

import pytest

from data import baselines
from data.baselines import cached_baselines
from data.byte_ngram import ByteNgram
from data.corpus import Corpus, Document


def test_baselines_are_measured_on_the_validation_bytes(tmp_path):
    rng = random.Random(0)
    texts = ["".join(rng.choices(["é", "data", "date", "\n"], k=2000)) for _ in range(3)]
    train, *validation = (Document(str(index), text) for index, text in enumerate(texts))
    measured = cached_baselines(Corpus("here", (train,), tuple(validation)), tmp_path)

    train_bytes, *validation_bytes = (text.encode() for text in texts)
    joined = b"".join(validation_bytes)
    assert measured == {
        "xz -9": 8 * len(lzma.compress(joined, preset=9)) / len(joined),
        "byte 5-gram": ByteNgram([train_bytes]).bits_per_byte(validation_bytes),
    }


def test_without_training_text_there_is_no_ngram(tmp_path, corpus):
    alone = Corpus("here", (), corpus.validation)
    whole = cached_baselines(corpus, tmp_path)
    assert cached_baselines(alone, tmp_path) == {"xz -9": whole["xz -9"]}


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
