import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from data.vocabularies.sentencepiece_model import split_text, train_sentencepiece
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
