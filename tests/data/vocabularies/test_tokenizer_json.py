"""A vocabulary trained here gives the same ids in the `tokenizers` library."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from data.vocabularies.tokenizer_json import to_tokenizer_json

texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"),
        st.sampled_from(" \t\n\rdefvalu0123():*"),
    )
)


@pytest.fixture(scope="module")
def tokenizer(vocabulary) -> Tokenizer:
    return Tokenizer.from_str(to_tokenizer_json(vocabulary)["tokenizer.json"].decode())


@given(text=texts)
def test_ids_and_text_are_the_same(vocabulary, tokenizer, text):
    # The library takes text that spells out a special token for that token.
    assume(not any(token in text for token in ("<pad>", "</s>", "<unk>", "<s>")))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == vocabulary.encode(text)
    assert tokenizer.decode(ids) == text


def test_whole_documents_are_the_same(vocabulary, tokenizer, corpus):
    for document in corpus.documents("train"):
        ids = tokenizer.encode(document.text).ids
        assert ids == [*vocabulary.start, *vocabulary.encode(document.text)]


def test_the_special_tokens_are_named(vocabulary):
    settings = json.loads(to_tokenizer_json(vocabulary)["tokenizer_config.json"])
    special_tokens = {
        name: vocabulary.token_string(i) for name, i in (("bos_token", 3), ("eos_token", 1))
    }
    assert special_tokens.items() <= settings.items()
