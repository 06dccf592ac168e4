import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import vocabulary
from data.batches.rows import Rows
from data.batches.sizes import BatchSizes
from data.config import Data, Files
from data.errors import DataConfigError, DataError
from data.training_data import load
from data.vocabularies.files import read_vocabulary
from data.vocabulary import train
from tests.data.samples import small_documents
from tests.data.vocabularies.test_lossless import unicode_texts

TEXTS = [document.text for document in small_documents(60)]
SIZE = 330
LOSSLESS = [(style, "bpe") for style in ("jurassic1", "chinchilla", "palm", "llama", "gpt2")]


@pytest.fixture(scope="module")
def trained():
    """Each kind once."""
    kinds: list[tuple[Any, Any]] = [*LOSSLESS, ("gopher", "bpe"), ("palm", "unigram")]
    return {kind: train(TEXTS, SIZE, *kind) for kind in kinds}


@given(st.sampled_from([*LOSSLESS, ("palm", "unigram")]), unicode_texts)
@settings(max_examples=300)
def test_decoding_gives_back_the_text(trained, kind, text):
    learned = trained[kind]
    ids = learned.encode(text)
    assert learned.decode(ids) == text
    marks = {learned.bos_id, learned.eos_id, learned.pad_id, learned.unk_id}
    assert not marks & set(ids)
    assert all(0 <= token_id < learned.size for token_id in ids)


@pytest.mark.parametrize("text", ["<|endoftext|>", "a <|endoftext|> b", "</s><s>"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_text_that_spells_a_mark_is_text(trained, kind, text):
    assert trained[kind].decode(trained[kind].encode(text)) == text


def test_the_sizes_are_those_asked_for(trained):
    sizes = {kind: each.size for kind, each in trained.items()}
    assert sizes.pop(("palm", "unigram")) <= SIZE
    assert set(sizes.values()) == {SIZE}


def test_gopher_normalises_as_the_paper_did(trained):
    gopher = trained["gopher", "bpe"]
    assert gopher.decode(gopher.encode("\ufb01ne \u2460\uff21")) == "fine 1A"


def test_only_some_split_digits(trained):
    digits = {kind: len(each.encode("24682468")) for kind, each in trained.items()}
    assert digits["palm", "bpe"] == digits["llama", "bpe"] == 8
    repeated = train(["the year 2024 and 2024\n" * 40] * 20, 300, "chinchilla", "bpe")
    assert len(repeated.encode("2024")) < 4


def test_jurassics_pieces_cross_words(trained):
    jurassic, palm = trained["jurassic1", "bpe"], trained["palm", "bpe"]
    phrase = "        return value * "
    assert len(jurassic.encode(phrase)) < len(palm.encode(phrase))


def test_gpt2_has_one_mark_the_last_id(trained):
    gpt2 = trained["gpt2", "bpe"]
    assert gpt2.bos_id == gpt2.eos_id == SIZE - 1
    assert gpt2.pad_id is gpt2.unk_id is None


@pytest.mark.parametrize(
    ("size", "style", "model_type", "message"),
    [
        (9999, "palm", "bpe", "9999 is more than the training text has tokens for"),
        (9999, "gpt2", "bpe", r"--size=9999 is more than .* set it to at most \d+, or add text"),
        (256, "gpt2", "bpe", "--size=256 has no room for 256 bytes and a special token"),
        (300, "gpt2", "unigram", "--style=gpt2 is byte-level BPE"),
    ],
)
def test_what_cannot_be_trained_is_explained(size, style, model_type, message):
    with pytest.raises(DataConfigError, match=message):
        train(TEXTS, size, style, model_type)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for document in small_documents(40):
        (tmp_path / document.name).write_text(document.text)
    return tmp_path


@pytest.mark.parametrize("style", ["palm", "gpt2", "gopher"])
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
