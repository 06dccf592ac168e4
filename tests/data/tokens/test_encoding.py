import copy
import itertools
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from data.errors import DataError
from data.tokens import encoding
from data.tokens.encoding import (
    encode_document,
    encode_documents,
    encoding_fingerprint,
    num_cores,
)


@pytest.fixture
def small_jobs(monkeypatch):
    monkeypatch.setattr(encoding, "_MIN_BYTES_TO_DIVIDE", 10)
    monkeypatch.setattr(encoding, "_JOB_CHARACTERS", 50)


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("num_processes", [1, 3])
def test_documents_come_in_order_from_any_number_of_processes(vocabulary, num_processes):
    texts = [f"def f{i}(é\u2581):\n" * (i % 7 + 1) for i in range(200)]
    encoded = encode_documents(iter(texts), vocabulary, num_processes)
    for text, ids in zip(texts, encoded, strict=True):
        bos, *inner, eos = ids.tolist()
        assert (bos, eos) == (vocabulary.bos_id, vocabulary.eos_id)
        assert inner == vocabulary.encode(text)
        assert encode_document(vocabulary, text).tolist() == ids.tolist()


def test_one_mark_stands_between_documents_where_bos_is_eos(vocabulary):
    marked = copy.copy(vocabulary)
    marked.eos_id = marked.bos_id
    assert encode_document(marked, "text").tolist() == [marked.bos_id, *marked.encode("text")]
    assert encoding_fingerprint(marked) != encoding_fingerprint(vocabulary)
    marked.bos_id = marked.eos_id = None
    assert encode_document(marked, "text").tolist() == marked.encode("text")
    assert encoding_fingerprint(marked) == encoding_fingerprint(vocabulary)


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("texts", [[], ["a"], ["a" * 11], ["", "a" * 60, ""]])
def test_few_documents_are_encoded_too(vocabulary, texts):
    encoded = list(encode_documents(texts, vocabulary, 2))
    assert [vocabulary.decode(ids.tolist()) for ids in encoded] == texts


@pytest.mark.usefixtures("small_jobs")
def test_a_process_that_is_killed_is_named(vocabulary, monkeypatch):
    class Killed(encoding._Process):
        def encode(self, texts):
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return super().encode(texts)

    monkeypatch.setattr(encoding, "_Process", Killed)
    with pytest.raises(
        DataError, match=r"was ended \(exit status -9\), most likely because it ran out of memory"
    ):
        list(encode_documents(["text"] * 100, vocabulary, 2))


@pytest.mark.usefixtures("small_jobs")
def test_an_error_in_the_texts_is_raised_and_ends_the_processes(vocabulary):
    def texts():
        yield from ["text"] * 100
        raise DataError("a.txt is not UTF-8")

    with pytest.raises(DataError, match="a.txt is not UTF-8"):
        list(encode_documents(texts(), vocabulary, 2))


@pytest.mark.usefixtures("small_jobs")
def test_closing_ends_the_processes_in_the_middle_of_endless_texts(vocabulary, monkeypatch):
    started: list[subprocess.Popen] = []

    class Recorded(encoding._Process):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self._process)

    monkeypatch.setattr(encoding, "_Process", Recorded)
    encoded = encode_documents(itertools.repeat("text"), vocabulary, 2)
    next(encoded)
    assert [process.poll() for process in started] == [None, None]
    encoded.close()
    assert None not in [process.poll() for process in started]


def test_a_program_without_a_main_guard_survives(vocabulary, tmp_path):
    (tmp_path / "model").write_bytes(vocabulary.to_bytes())
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import pathlib, sys
            from data.tokens import encoding
            from data.vocabularies.lossless import LosslessVocabulary
            encoding._MIN_BYTES_TO_DIVIDE = 1
            vocabulary = LosslessVocabulary(pathlib.Path(sys.argv[1]).read_bytes())
            print(len(list(encoding.encode_documents(["text"] * 9, vocabulary, 2))))
        """)
    )
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "model")],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("9\n", "")


def test_the_cores_are_those_that_the_process_may_use():
    assert 1 <= num_cores() <= (os.cpu_count() or 1)
