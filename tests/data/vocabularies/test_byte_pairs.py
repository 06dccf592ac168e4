"""GPT-1's and GPT-2's styles against `transformers` and GPT-1's released code."""

import json
import re
from typing import Any, cast

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from data.vocabularies.hugging_face import JSON_FILE
from data.vocabularies.styles import train
from data.vocabularies.vocabulary import Vocabulary
from tests.data.samples import small_documents

TEXTS = [document.text for document in small_documents(60)]
PLAIN_WORDS = sorted({word for text in TEXTS for word in re.findall("[a-z]+", text)})[:200]
plain_texts = st.lists(
    st.sampled_from([*PLAIN_WORDS, "Return", "VALUE", "x1", ".", ",", "(", "\u00df", "="])
).map(" ".join)


@pytest.fixture(scope="module")
def gpt1() -> Vocabulary:
    return train(TEXTS, 400, "gpt1")


def model_of(vocabulary: Vocabulary) -> dict[str, Any]:
    return json.loads(vocabulary.to_files()[JSON_FILE])["model"]


@given(plain_texts)
def test_the_ids_are_those_of_transformers(gpt1, text):
    model = model_of(gpt1)
    theirs = transformers.OpenAIGPTTokenizer(
        vocab=model["vocab"], merges=cast(Any, [tuple(merge) for merge in model["merges"]])
    )
    # transformers keeps no ends of lines and takes every punctuation mark by itself; on words that
    # stand apart the two must agree.
    assert gpt1.encode(text) == theirs(text).input_ids


def words_of(vocabulary: Vocabulary, text: str) -> list[str]:
    """Return the words of `text`, from the tokens that end one."""
    ids: dict[str, int] = model_of(vocabulary)["vocab"]
    names = {token_id: token for token, token_id in ids.items()}
    spelled = "".join(names[token_id] for token_id in vocabulary.encode(text))
    return re.findall("(.*?)</w>", spelled, re.DOTALL)


KNOWN = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-_=+*/\u00e9$|#"


@pytest.fixture(scope="module")
def english() -> Vocabulary:
    """Every character of the examples below, and no unknown one."""
    letters = " ".join(KNOWN)
    return train([f"{letters} {letters} {KNOWN}\nthe cat\n"] * 30, 600, "gpt1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The CAT sat.", ["the", "cat", "sat", "."]),
        # text_utils.py of the released code: dashes, quotes, dots, and runs of marks
        ("a\u2014b \u2013 c", ["a", "-", "b", "-", "c"]),
        ("wait\u2026 what?!!", ["wait", "...", "what", "?", "!!"]),
        ("(a)) \u00b4b\u00b4 __c", ["(", "a", "))", "'", "b", "'", "__", "c"]),
        (" \n\n a  b \t\n\n  c\n ", ["a", "b", "\n", "c"]),
        ("a\r\nb\rc\u2028d", ["a", "\n", "b", "\n", "c", "\n", "d"]),
        # ftfy: quotes, control characters, NFC
        ("\u201cit\u201d \u2018b\u2019", ['"', "it", '"', "'", "b", "'"]),
        ("a\x00b e\u0301", ["ab", "\u00e9"]),
        # spaCy: contractions and numbers
        ("I don't, you'll; he's", ["i", "do", "n't", ",", "you", "'ll", ";", "he", "'s"]),
        ("pi=3.14 or $3,000", ["pi", "=", "3.14", "or", "$", "3", ",", "000"]),
        ("", []),
        ("   ", []),
    ],
)
def test_the_words_are_those_of_the_released_code(english, text, words):
    assert words_of(english, text) == words


@given(st.text(KNOWN + KNOWN.upper() + " \t\n\r\u2014\u201c\u2026"))
def test_decoded_text_encodes_to_the_same_ids(english, text):
    ids = english.encode(text)
    assert english.unk_id not in ids
    assert english.encode(english.decode(ids)) == ids


def test_gpt1_has_an_unknown_token_and_no_marks_of_documents(gpt1):
    assert (gpt1.unk_id, gpt1.bos_id, gpt1.eos_id, gpt1.pad_id) == (0, None, None, None)
    assert gpt1.encode("\u4e00") == [0]
    assert gpt1.decode([0]) == ""


def test_most_of_a_small_gpt1_vocabulary_is_merges():
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    model = model_of(train([rare, *TEXTS], 300, "gpt1"))
    assert len(model["vocab"]) - len(model["merges"]) <= 1 + 2 * 300 / 6


def test_a_small_text_gives_a_gpt1_vocabulary_of_its_own_size():
    trained = train(["a cat"], 40_478, "gpt1")
    assert trained.size == len(model_of(trained)["vocab"]) < 20
    assert trained.decode(trained.encode("A  cat")) == "a cat"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_gpt2s_ids_are_those_of_transformers(gpt2, text):
    model = model_of(gpt2)
    theirs = transformers.GPT2Tokenizer(
        vocab=model["vocab"], merges=cast(Any, [tuple(merge) for merge in model["merges"]])
    )
    assert gpt2.encode(text) == theirs(text, split_special_tokens=True).input_ids


@pytest.fixture(scope="module")
def gpt2() -> Vocabulary:
    return train(TEXTS, 330, "gpt2")
