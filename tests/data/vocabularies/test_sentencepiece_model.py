import random

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataConfigError, DataError
from data.vocabularies.sentencepiece_model import (
    read_sentencepiece,
    split_text,
    train_sentencepiece,
)
from tests.data.samples import small_documents
from tests.data.vocabularies.test_lossless import unicode_texts


@given(unicode_texts, st.integers(1, 7))
def test_the_size_of_the_parts_never_changes_the_text(text, size):
    parts = list(split_text(text, size))
    assert "".join(parts) == text
    assert all(0 < len(part) <= size for part in parts)


def test_an_option_replaces_that_of_a_lossless_vocabulary():
    texts = [document.text for document in small_documents(60)]
    model = train_sentencepiece(texts, 320, {"split_digits": False})
    assert model != train_sentencepiece(texts, 320, {})
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert processor.vocab_size() == 320


def test_a_size_that_is_no_int_is_refused():
    with pytest.raises(DataConfigError, match="vocab_size=99999999999999999999 cannot be trained"):
        train_sentencepiece(["a model"], 99_999_999_999_999_999_999, {})


def test_a_damaged_model_is_refused_whatever_its_bytes():
    """The library's messages may quote bytes that are not UTF-8."""
    model = train_sentencepiece([document.text for document in small_documents(60)], 320, {})
    rng = random.Random(0)
    for _ in range(300):
        where = rng.randrange(len(model))
        try:
            read_sentencepiece(model[where:] + rng.randbytes(9) + model[:where])
        except DataError as error:
            assert "damaged" in str(error)
