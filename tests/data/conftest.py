"""A small corpus and its vocabulary, made once, and a full disk."""

import errno
import os

import hypothesis
import pytest

from data.text.corpus import Corpus
from data.vocabularies.lossless import train_vocabulary
from data.vocabularies.vocabulary import Vocabulary
from tests.data.samples import corpus_of, small_documents

# The same examples in every run, however slow the machine.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return corpus_of(small_documents(60))


@pytest.fixture(scope="session")
def vocabulary(corpus: Corpus) -> Vocabulary:
    return train_vocabulary([document.text for document in corpus.documents("train")], 320)


@pytest.fixture
def fill_the_disk(monkeypatch):
    """Return a function after whose call every write to the disk fails."""

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", no_space)
