"""Vocabularies of imported weights: the ids of Hugging Face, and marks that may be missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.vocabularies.base import LosslessVocabulary, Vocabulary
from data.vocabularies.imported import (
    SentencePieceVocabulary,
    TokenizersVocabulary,
    from_files,
    from_hf,
)
from tests.zoo import hf_folders

TEXT = "a model reads  tokens é😀\n"
texts = st.text(st.characters(exclude_categories=["Cs"]))


def read(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def bpe(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("bpe")
    hf_folders.write_bpe(folder)
    return read(folder)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("pieces")
    hf_folders.write_sentencepiece(folder)
    return read(folder)


def stream(vocabulary: Vocabulary, prompt: list[int], ids: list[int]) -> str:
    decoder = vocabulary.stream_decoder(prompt)
    return "".join(decoder.feed(token_id) for token_id in ids) + decoder.flush()


def test_gpt2s_only_mark_is_begin_and_end_and_nothing_is_padding(bpe):
    vocabulary = from_hf(bpe, {"pad_token_id": 0})
    assert isinstance(vocabulary, TokenizersVocabulary)
    assert (vocabulary.bos_id, vocabulary.eos_id) == (0, 0)
    assert (vocabulary.pad_id, vocabulary.unk_id) == (None, None)
    assert (vocabulary.start, vocabulary.end) == ([0], [0])


def test_llamas_marks(pieces):
    vocabulary = from_hf(pieces, {})
    assert isinstance(vocabulary, SentencePieceVocabulary)
    assert (vocabulary.start, vocabulary.end) == ([1], [2])
    assert vocabulary.pad_id is None


def test_marks_of_config_json_count_where_the_tokenizer_names_none(bpe):
    files = {"tokenizer.json": bpe["tokenizer.json"]}
    vocabulary = from_hf(files, {"bos_token_id": 5, "eos_token_id": [7, 8], "pad_token_id": -1})
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.pad_id) == (5, 7, None)
    without = from_hf(files, {})
    assert (without.start, without.end) == ([], [])


@given(text=texts)
def test_byte_level_pieces_keep_every_text(bpe, text):
    vocabulary = from_hf(bpe, {})
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert stream(vocabulary, vocabulary.start, ids) == text


@pytest.mark.parametrize("text", [TEXT, " a model", "a model", "é😀", ""])
def test_sentencepiece_is_decoded_alike_at_once_and_in_a_stream(pieces, text):
    vocabulary = from_hf(pieces, {})
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert stream(vocabulary, vocabulary.start, ids) == text


def test_after_a_prompt_a_word_keeps_its_space(bpe, pieces):
    for files in (bpe, pieces):
        vocabulary = from_hf(files, {})
        prompt, whole = vocabulary.encode("a model"), vocabulary.encode("a model reads")
        rest = whole[len(prompt) :]
        assert whole[: len(prompt)] == prompt
        assert vocabulary.begins_with_space(rest[0])
        assert not vocabulary.begins_with_space(vocabulary.encode("a\n")[-1])
        assert stream(vocabulary, [*vocabulary.start, *prompt], rest) == " reads"


def test_half_a_character_is_not_shown_before_its_end(bpe, pieces):
    for files in (bpe, pieces):
        vocabulary = from_hf(files, {})
        ids = vocabulary.encode("a😀")
        decoder = vocabulary.stream_decoder(vocabulary.start)
        shown = [decoder.feed(token_id) for token_id in ids[:-1]]
        assert "".join(shown).strip() == "a"
        assert decoder.flush().strip("\ufffd") == ""


def test_a_vocabulary_travels_as_files(bpe, pieces, vocabulary):
    for each in (from_hf(bpe, {}), from_hf(pieces, {}), vocabulary):
        copy = from_files(each.to_files())
        assert type(copy) is type(each)
        assert copy.fingerprint == each.fingerprint
        assert copy.encode(TEXT) == each.encode(TEXT)
        assert (copy.start, copy.end, copy.pad_id) == (each.start, each.end, each.pad_id)
    assert isinstance(from_files(vocabulary.to_files()), LosslessVocabulary)


def test_what_was_set_for_other_programs_batches_does_not_cut_texts(bpe):
    settings = json.loads(bpe["tokenizer.json"])
    settings["truncation"] = {
        "max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"
    }  # fmt: skip
    cut = from_hf(bpe | {"tokenizer.json": json.dumps(settings).encode()}, {})
    assert cut.encode(TEXT) == from_hf(bpe, {}).encode(TEXT)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
@pytest.mark.parametrize("keep", [0, 60])
def test_a_damaged_file_is_refused(bpe, pieces, name, keep):
    files = dict(pieces if name == "tokenizer.model" else bpe)
    files[name] = files[name][:keep]
    with pytest.raises(DataError, match=r"damaged|empty"):
        from_hf(files, {})


def test_a_folder_without_a_tokenizer_is_refused(bpe):
    with pytest.raises(DataError, match=r"neither a tokenizer\.json nor a tokenizer\.model"):
        from_hf({"tokenizer_config.json": bpe["tokenizer_config.json"]}, {})


def test_ids_outside_are_refused(bpe, pieces):
    for files in (bpe, pieces):
        vocabulary = from_hf(files, {})
        for token_id in (-1, vocabulary.size):
            with pytest.raises(ValueError, match=f"id {token_id} is not in a vocabulary"):
                vocabulary.decode([token_id])
