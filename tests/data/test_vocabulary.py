import json

import pytest

from data import vocabulary
from data.batches.rows import Rows
from data.batches.sizes import BatchSizes
from data.config import Data, Files
from data.errors import DataConfigError, DataError
from data.training_data import load
from data.vocabularies.files import read_vocabulary
from tests.data.samples import small_documents


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for document in small_documents(40):
        (tmp_path / document.name).write_text(document.text)
    return tmp_path


@pytest.mark.parametrize("style", ["palm", "gpt2", "gopher", "llama"])
@pytest.mark.parametrize("packing", ["split", "whole"])
def test_a_model_trains_with_what_the_command_made(folder, style, packing, capsys):
    flags = ["--data.files=*.py", "--data.cache-dir=cache", "--size=320", f"--style={style}"]
    vocabulary.main([*flags, "--out=mine", "--json"])
    printed = json.loads(capsys.readouterr().out)
    config = Data(source=Files("*.py"), cache_dir="cache", vocabulary="mine", packing=packing)
    loaded = load(config, vocab_size=320, seq_len=32, sizes=BatchSizes.constant(4), report=print)
    assert loaded.vocabulary.fingerprint == printed["fingerprint"]
    assert isinstance(loaded.train, Rows)
    eos = loaded.vocabulary.eos_id
    weighted = sum(
        ((batch["targets"] == eos) & (batch["weights"] > 0)).sum()
        for batch in loaded.train.eval_batches(4)
    )
    num_documents = (loaded.train.tokens == eos).sum()
    if style == "gpt2":  # its one mark also begins the next document, and does not end the last
        assert loaded.train.tokens[0] == eos
        assert eos not in loaded.train.tokens[-1:]
        num_documents -= 1
    assert weighted == num_documents
    with pytest.raises(DataConfigError, match="--out=mine exists already"):
        vocabulary.main([*flags, "--out=mine"])


def test_a_person_is_told_how_to_go_on(folder, capsys):
    vocabulary.main(["--data.files=*.py", "--data.cache-dir=cache", "--size=320", "--out=mine"])
    assert "next: --data.vocabulary=mine --model.vocab-size=320" in capsys.readouterr().out


def test_a_vocabulary_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"data\.vocabulary='.*none' .*No such file.* --out"):
        read_vocabulary(f"{tmp_path}/none")
    with pytest.raises(DataError, match=r"cannot be used: the SentencePiece model is empty"):
        read_vocabulary(str(tmp_path))


def test_a_setting_of_a_run_names_the_flag_of_the_command(folder):
    with pytest.raises(DataConfigError, match="--data.vocabulary-style=gpt2 .* write --style=gpt2"):
        vocabulary.main(["--data.files=*.py", "--data.vocabulary-style=gpt2", "--out=mine"])
    with pytest.raises(DataConfigError, match="--data.vocabulary-size=320 .* write --size=320"):
        vocabulary.main(["--data.files=*.py", "--data.vocabulary-size=320", "--out=mine"])


def test_less_text_gives_another_vocabulary(folder, capsys):
    flags = ["--data.files=*.py", "--data.cache-dir=cache", "--size=300", "--json"]
    vocabulary.main([*flags, "--out=whole"])
    vocabulary.main([*flags, "--out=part", "--data.vocabulary-bytes=9000"])
    whole, part = map(json.loads, capsys.readouterr().out.splitlines())
    assert whole["fingerprint"] != part["fingerprint"]


def test_an_unfit_size_names_the_commands_own_flag(folder):
    for style in ("gpt2", "palm", "llama"):
        with pytest.raises(DataConfigError, match=r"^--size=99999 is more than .* at most \d+"):
            vocabulary.main(["--data.files=*.py", "--size=99999", f"--style={style}", "--out=mine"])
