"""vocab.json with merges.txt: the ids of transformers' own tokenizers on the same files."""

import json
from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.vocabularies.files import vocabulary_from_files
from data.vocabularies.hugging_face import TokenizersVocabulary, vocabulary_from_hf
from tests.zoo import hf_folders

TEXT = "A model reads  tokens; it's é😀\n\tnext 12\u2028x "
texts = st.text(st.characters(exclude_categories=["Cs"]))


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("gpt2")
    hf_folders.write_bpe(folder)
    hf_folders.write_bpe_files(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    return folder


@pytest.fixture(scope="module")
def gpt1(tmp_path_factory) -> Path:
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("gpt1")
    hf_folders.write_gpt1_files(folder)
    return folder


def changed(folder: Path, **files: object) -> dict[str, bytes]:
    """The folder's files, with some more of JSON."""
    return read(folder) | {f"{name}.json": json.dumps(v).encode() for name, v in files.items()}


@given(text=texts)
def test_gpt2s_files_give_the_ids_of_transformers(gpt2, text):
    ours = vocabulary_from_hf(read(gpt2), {})
    theirs = transformers.GPT2Tokenizer.from_pretrained(gpt2)
    assert (
        ours.encode(text)
        == theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    )
    assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize("text", [TEXT, TEXT.lower(), "", "a", "漢字 unknown"])
def test_gpt1s_files_give_the_ids_of_transformers(gpt1, text):
    ours = vocabulary_from_hf(read(gpt1), {})
    theirs = transformers.OpenAIGPTTokenizer.from_pretrained(gpt1)
    ids = theirs(text, add_special_tokens=False).input_ids
    assert ours.encode(text) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.unk_id == theirs.unk_token_id
    assert (ours.bos_id, ours.eos_id) == (None, None)


def test_without_settings_gpt2s_special_token_is_bos_and_eos(gpt2):
    files = {name: text for name, text in read(gpt2).items() if name != "tokenizer_config.json"}
    vocabulary = vocabulary_from_hf(files, {})
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 0, None)


def test_a_space_before_the_text_is_added_as_the_settings_say(gpt2):
    files = changed(gpt2, tokenizer_config={"add_prefix_space": True})
    assert vocabulary_from_hf(files, {}).encode("model") == vocabulary_from_hf(
        read(gpt2), {}
    ).encode(" model")


def test_added_tokens_keep_their_ids_and_are_found_in_text(gpt2, tmp_path):
    size = vocabulary_from_hf(read(gpt2), {}).size
    files = changed(
        gpt2,
        added_tokens={"<tool>": size},
        tokenizer_config={
            "added_tokens_decoder": {size + 1: {"content": "<end>", "special": True}}
        },
    )
    vocabulary = vocabulary_from_hf(files, {})
    assert isinstance(vocabulary, TokenizersVocabulary)
    assert (vocabulary.id_of("<tool>"), vocabulary.id_of("<end>")) == (size, size + 1)
    assert size in vocabulary.encode("a <tool> reads")
    assert size + 1 not in vocabulary.encode("a <end> reads")


def test_the_vocabulary_travels_as_a_tokenizer_json(gpt2):
    vocabulary = vocabulary_from_hf(read(gpt2), {})
    files = vocabulary.to_files()
    assert "tokenizer.json" in files and "merges.txt" not in files
    copy = vocabulary_from_files(files)
    assert copy.encode(TEXT) == vocabulary.encode(TEXT)
    assert copy.fingerprint == vocabulary.fingerprint


DAMAGE = {
    "merges of one token": ({"merges.txt": b"#version: 0.2\nab\n"}, "line 2 is not two tokens"),
    "merges of no token": ({"merges.txt": b"qq zz\n"}, "merges.txt does not fit vocab.json"),
    "merges that are not UTF-8": ({"merges.txt": b"\xff \xfe\n"}, "merges.txt is damaged"),
    "a list": ({"vocab.json": b"[1]"}, "vocab.json is damaged: it holds no JSON object"),
    "an id that is text": ({"vocab.json": b'{"a": "1"}'}, "vocab.json is damaged"),
    "two of one id": ({"vocab.json": b'{"a": 1, "b": 1}'}, "two tokens have the same id"),
    "an added token after a gap": ({"added_tokens.json": b'{"<x>": 999}'}, "has id 999"),
    "an added token of no id": ({"added_tokens.json": b'{"<x>": null}'}, "has id None"),
    "no vocab.json": ({"vocab.json": None}, "no vocab.json with merges.txt"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_named(name, gpt2):
    change, message = DAMAGE[name]
    files = {n: content for n, content in (read(gpt2) | change).items() if content is not None}
    with pytest.raises(DataError, match=message):
        vocabulary_from_hf(files, {})
