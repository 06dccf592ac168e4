import io
import re

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataConfigError, DataError
from data.vocabularies import lossless
from data.vocabularies.lossless import LosslessVocabulary, train_vocabulary
from tests.data.samples import small_documents

TEXTS = [document.text for document in small_documents(60)]

# Any character except halves of surrogate pairs, and strings that could be lost.
unicode_texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.sampled_from(
            ["\u2581", "\0", "\t", "\r\n", "  ", "    return", "</s>", "<s>", "<pad>", "<unk>"]
            + ["<0x41>", "👩\u200d🚀", "e\u0301", "\ufeff", "\u00a0", "\u2028", "12345", "\u2585"]
        ),
    )
).map("".join)


@given(unicode_texts)
@settings(max_examples=300)
def test_decoding_gives_back_the_text(vocabulary, text):
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert all(vocabulary.bos_id < token_id < vocabulary.size for token_id in ids)


@given(unicode_texts)
def test_a_stream_never_shows_half_a_character(vocabulary, text):
    decoder, shown = vocabulary.stream_decoder(), ""
    for token_id in vocabulary.encode(text):
        shown += decoder.feed(token_id)
        assert text.startswith(shown)
    assert shown == text
    assert decoder.flush() == ""


@pytest.mark.parametrize("text", ["word " * 70_000, "é\n" * 200_000])
def test_long_texts_are_encoded_in_parts_without_loss(vocabulary, text):
    assert len(text) > lossless._ENCODING_PART_CHARACTERS
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_an_unfinished_character_becomes_a_replacement_character(vocabulary):
    smile = vocabulary.encode("😀")
    assert len(smile) == 4
    assert vocabulary.decode(smile[:3] + vocabulary.encode("a")) == "\ufffda"
    decoder = vocabulary.stream_decoder()
    assert decoder.feed(smile[0]) == ""
    assert decoder.flush() == "\ufffd"


def test_special_tokens_have_no_text(vocabulary):
    specials = [vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id, vocabulary.bos_id]
    assert specials == [0, 1, 2, 3]
    assert vocabulary.decode([*specials, *vocabulary.encode("a b"), *specials]) == "a b"


@pytest.mark.parametrize("token_id", [-1, 320])
def test_ids_outside_the_vocabulary_are_refused(vocabulary, token_id):
    with pytest.raises(ValueError, match=f"id {token_id} is not in a vocabulary of 320 tokens"):
        vocabulary.decode([token_id])


def test_indentation_is_a_token_and_digits_are_apart():
    years = train_vocabulary(["        in 2024\n" * 100], 272)
    assert len(years.encode("        ")) <= 2
    assert [years.decode([token_id]) for token_id in years.encode("2024")] == ["2", "0", "2", "4"]


def test_half_a_surrogate_pair_is_refused(vocabulary):
    with pytest.raises(UnicodeEncodeError):
        vocabulary.encode("\ud83d")


def test_the_same_texts_give_the_same_vocabulary(vocabulary, corpus):
    again = train_vocabulary([document.text for document in corpus.documents("train")], 320)
    assert again.to_bytes() == vocabulary.to_bytes()
    assert again.size == 320


def test_a_vocabulary_can_be_made_from_its_bytes(vocabulary):
    copy = LosslessVocabulary(vocabulary.to_bytes())
    assert copy.fingerprint == vocabulary.fingerprint
    assert copy.encode("def f(x):\n") == vocabulary.encode("def f(x):\n")


@pytest.mark.parametrize("keep", [0, 1000, -1])
def test_a_damaged_model_is_refused(vocabulary, keep):
    with pytest.raises(DataError, match="SentencePiece model is"):
        LosslessVocabulary(vocabulary.to_bytes()[:keep])


def test_a_model_that_changes_text_is_refused():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=320, byte_fallback=True
    )
    with pytest.raises(DataError, match="does not keep text as it is"):
        LosslessVocabulary(model.getvalue())


def test_a_vocabulary_larger_than_the_text_allows_names_the_largest():
    with pytest.raises(DataConfigError, match=r"model\.vocab_size=8192 .* at most (\d+)") as caught:
        train_vocabulary(TEXTS, 8192)
    largest = re.findall(r"at most (\d+)", str(caught.value))[0]
    assert train_vocabulary(TEXTS, int(largest)).size == int(largest)


def test_a_vocabulary_smaller_than_the_characters_names_the_smallest():
    with pytest.raises(DataConfigError, match=r"model\.vocab_size=261 .* at least (\d+)") as caught:
        train_vocabulary(TEXTS, 261)
    smallest = re.findall(r"at least (\d+)", str(caught.value))[0]
    assert train_vocabulary(TEXTS, int(smallest)).size == int(smallest)


@pytest.mark.parametrize(("texts", "size"), [([], 400), (["\n\n"], 400), (TEXTS, 2), (TEXTS, -1)])
def test_a_vocabulary_that_cannot_be_trained_is_explained(texts, size):
    with pytest.raises(DataConfigError, match=f"model.vocab_size={size} .* 300 or more"):
        train_vocabulary(texts, size)


def test_rare_characters_of_a_text_with_too_many_are_spelled_in_bytes():
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 700)))
    vocabulary = train_vocabulary([*TEXTS * 3, rare], 512)
    assert vocabulary.size == 512
    assert vocabulary.decode(vocabulary.encode(rare)) == rare
    num_tokens = len(vocabulary.encode(rare))
    # About 128 characters are tokens, of which few are rare ones; the others have three bytes each.
    assert 3 * (700 - 160) + 160 <= num_tokens <= 3 * 700
    assert any(len(vocabulary.bytes_of(token_id)) > 3 for token_id in range(260, 512))
