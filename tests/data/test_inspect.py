import json
import re

import numpy as np
import pytest

from data import inspect
from data.errors import DataConfigError, DataError
from tests.data.samples import small_documents


@pytest.fixture
def flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    for document in small_documents(40):
        (tmp_path / "text" / document.name).write_text(document.text)
    (tmp_path / "text" / "copy.py").write_text((tmp_path / "text" / "7.py").read_text())
    return [
        "--data.files=text/*.py",
        f"--data.cache-dir={tmp_path}/cache",
        "--vocab-size=320",
        "--seq-len=150",
    ]


def test_a_person_sees_numbers_lengths_and_sequences(flags, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    inspect.main(flags)
    said = capsys.readouterr().out
    assert "text_.py, train: 40 documents (1 duplicates)" in said
    assert "padding is" in said
    assert said.count("════ sequence") == 3
    assert "──── another document ────" in said
    assert "def function_" in said
    assert re.search(r"lengths of the documents, [\d,]+ [ ▁▂▃▄▅▆▇]*█[ ▁▂▃▄▅▆▇█]* [\d,]+\n", said)
    assert "as a picture: --picture=lengths.png" in said
    assert set(tmp_path.iterdir()) - before == {tmp_path / "cache"}


def test_a_picture_is_drawn_where_it_is_asked_for(flags, tmp_path, capsys):
    inspect.main([*flags, "--picture=mine.png"])
    assert "picture: mine.png" in capsys.readouterr().out
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_documents_of_one_length_are_drawn_too():
    bars = inspect._histogram(np.array([7, 7, 7]))
    assert bars.startswith("7 █ ")
    assert bars.endswith(" 7")


def test_a_stream_is_not_looked_at(flags):
    with pytest.raises(DataConfigError, match="data.streaming: .*leave it out"):
        inspect.main([*flags, "--data.streaming"])


def test_a_program_reads_one_object(flags, tmp_path, capsys):
    inspect.main([*flags, "--json", "--num-windows=2"])
    report = json.loads(capsys.readouterr().out)
    assert report["picture"] is None
    train, validation = report["splits"]
    assert (train["split"], validation["split"]) == ("train", "validation")
    assert (train["documents"], train["duplicates"], validation["documents"]) == (40, 1, 1)
    texts = [path.read_text() for path in (tmp_path / "text").iterdir()]
    assert train["bytes"] + validation["bytes"] == sum(map(len, texts))
    assert train["bytes_per_token"] == train["bytes"] / train["tokens"]
    assert train["shortest"] <= train["median"] <= train["longest"]
    assert 0 <= train["padding_if_split"] < train["padding_if_whole"] < 1
    assert len(report["windows"]) == 2
    assert report["vocabulary"]["size"] == 320


def test_every_source_of_a_mixture_is_described(flags, tmp_path, capsys):
    (tmp_path / "notes.jsonl").write_text(
        "".join(json.dumps({"text": f"Note {i}. " * 40}) + "\n" for i in range(40))
    )
    inspect.main([*flags[1:], "--json", "--data.mixture", "text/*.py=1", "notes.jsonl=1"])
    sources = [each["source"] for each in json.loads(capsys.readouterr().out)["splits"]]
    assert sources == ["text_.py"] * 2 + ["notes.jsonl"] * 2


def test_verifying_finds_what_opening_does_not(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inspect.token_cache, "_BLOCK_TOKENS", 100)
    inspect.main([*flags, "--verify"])
    assert "the checksums of text_.py are right" in capsys.readouterr().err
    (tokens,) = tmp_path.rglob("train.tokens")
    content = tokens.read_bytes()
    tokens.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    inspect.main(flags)
    with pytest.raises(DataError, match="is damaged .*checksum of train"):
        inspect.main([*flags, "--verify"])
