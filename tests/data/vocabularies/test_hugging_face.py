"""Vocabularies of imported weights: Hugging Face's ids, and special tokens that may be missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.vocabularies.files import vocabulary_from_files
from data.vocabularies.hugging_face import (
    SentencePieceVocabulary,
    TokenizersVocabulary,
    vocabulary_from_hf,
)
from data.vocabularies.lossless import LosslessVocabulary
from data.vocabularies.vocabulary import Vocabulary
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
def sentencepiece(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sentencepiece")
    hf_folders.write_sentencepiece(folder)
    return read(folder)


def stream(vocabulary: Vocabulary, prompt: list[int], ids: list[int]) -> str:
    decoder = vocabulary.stream_decoder(prompt)
    return "".join(decoder.feed(token_id) for token_id in ids) + decoder.flush()


def test_gpt2s_only_special_token_is_bos_and_eos_and_nothing_is_padding(bpe):
    vocabulary = vocabulary_from_hf(bpe, {"pad_token_id": 0})
    assert isinstance(vocabulary, TokenizersVocabulary)
    assert (vocabulary.bos_id, vocabulary.eos_id) == (0, 0)
    assert (vocabulary.pad_id, vocabulary.unk_id) == (None, None)
    assert (vocabulary.start, vocabulary.end) == ([0], [])


def test_llamas_special_tokens(sentencepiece):
    vocabulary = vocabulary_from_hf(sentencepiece, {})
    assert isinstance(vocabulary, SentencePieceVocabulary)
    assert (vocabulary.start, vocabulary.end) == ([1], [2])
    assert vocabulary.pad_id is None


def test_ids_of_config_json_count_where_the_tokenizer_names_no_token(bpe):
    files = {"tokenizer.json": bpe["tokenizer.json"]}
    vocabulary = vocabulary_from_hf(
        files, {"bos_token_id": 5, "eos_token_id": [7, 8], "pad_token_id": -1}
    )
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.pad_id) == (5, 7, None)
    without = vocabulary_from_hf(files, {})
    assert (without.start, without.end) == ([], [])


@given(text=texts)
def test_byte_level_tokens_keep_every_text(bpe, text):
    vocabulary = vocabulary_from_hf(bpe, {})
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert stream(vocabulary, vocabulary.start, ids) == text


@pytest.mark.parametrize("text", [TEXT, " a model", "a model", "é😀", ""])
def test_sentencepiece_is_decoded_alike_at_once_and_in_a_stream(sentencepiece, text):
    vocabulary = vocabulary_from_hf(sentencepiece, {})
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert stream(vocabulary, vocabulary.start, ids) == text


def test_after_a_prompt_a_word_keeps_its_space(bpe, sentencepiece):
    for files in (bpe, sentencepiece):
        vocabulary = vocabulary_from_hf(files, {})
        prompt, whole = vocabulary.encode("a model"), vocabulary.encode("a model reads")
        rest = whole[len(prompt) :]
        assert whole[: len(prompt)] == prompt
        assert vocabulary.begins_with_space(rest[0])
        assert not vocabulary.begins_with_space(vocabulary.encode("a\n")[-1])
        assert stream(vocabulary, [*vocabulary.start, *prompt], rest) == " reads"


def test_an_id_outside_is_refused_alike_at_once_and_in_a_stream(bpe, sentencepiece):
    for files in (bpe, sentencepiece):
        vocabulary = vocabulary_from_hf(files, {})
        for token_id in (-1, vocabulary.size):
            with pytest.raises(ValueError, match=f"id {token_id} is not in a vocabulary"):
                vocabulary.decode([token_id])
            with pytest.raises(ValueError, match=f"id {token_id} is not in a vocabulary"):
                vocabulary.stream_decoder().feed(token_id)


def test_half_a_character_is_not_shown_before_its_end(bpe, sentencepiece):
    for files in (bpe, sentencepiece):
        vocabulary = vocabulary_from_hf(files, {})
        ids = vocabulary.encode("a😀")
        decoder = vocabulary.stream_decoder(vocabulary.start)
        shown = [decoder.feed(token_id) for token_id in ids[:-1]]
        assert "".join(shown).strip() == "a"
        assert decoder.flush().strip("\ufffd") == ""


def test_a_vocabulary_can_be_made_from_its_files(bpe, sentencepiece, vocabulary):
    for original in (
        vocabulary_from_hf(bpe, {}),
        vocabulary_from_hf(sentencepiece, {}),
        vocabulary,
    ):
        copy = vocabulary_from_files(original.to_files())
        assert type(copy) is type(original)
        assert copy.fingerprint == original.fingerprint
        assert copy.encode(TEXT) == original.encode(TEXT)
        assert (copy.start, copy.end, copy.pad_id) == (
            original.start,
            original.end,
            original.pad_id,
        )
    assert isinstance(vocabulary_from_files(vocabulary.to_files()), LosslessVocabulary)


def test_settings_for_other_programs_batches_do_not_cut_texts(bpe):
    settings = json.loads(bpe["tokenizer.json"])
    settings["truncation"] = {
        "max_length": 3,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Right",
    }
    cut = vocabulary_from_hf(bpe | {"tokenizer.json": json.dumps(settings).encode()}, {})
    assert cut.encode(TEXT) == vocabulary_from_hf(bpe, {}).encode(TEXT)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
@pytest.mark.parametrize("keep", [0, 60])
def test_a_damaged_file_is_refused(bpe, sentencepiece, name, keep):
    files = dict(sentencepiece if name == "tokenizer.model" else bpe)
    files[name] = files[name][:keep]
    with pytest.raises(DataError, match=r"damaged|empty"):
        vocabulary_from_hf(files, {})


def test_a_folder_without_a_tokenizer_is_refused(bpe):
    with pytest.raises(DataError, match=r"no tokenizer\.json, no tokenizer\.model"):
        vocabulary_from_hf({"tokenizer_config.json": bpe["tokenizer_config.json"]}, {})


def test_ids_outside_the_vocabulary_are_refused(bpe, sentencepiece):
    for files in (bpe, sentencepiece):
        vocabulary = vocabulary_from_hf(files, {})
        for token_id in (-1, vocabulary.size):
            with pytest.raises(ValueError, match=f"id {token_id} is not in a vocabulary"):
                vocabulary.decode([token_id])
