import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from data.vocabularies.sentencepiece_training import chunks, train_sentencepiece
from tests.data.samples import small_documents
from tests.data.vocabularies.test_base import unicode_texts


@given(unicode_texts, st.integers(1, 7))
def test_the_chunk_size_never_changes_the_text(text, size):
    found = list(chunks(text, size))
    assert "".join(found) == text
    assert all(0 < len(chunk) <= size for chunk in found)


def test_an_option_replaces_that_of_a_lossless_vocabulary():
    texts = [document.text for document in small_documents(60)]
    model = train_sentencepiece(texts, 320, {"split_digits": False})
    assert model != train_sentencepiece(texts, 320, {})
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert processor.vocab_size() == 320
