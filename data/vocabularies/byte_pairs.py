"""GPT-1's and GPT-2's byte-pair encodings, trained with the `tokenizers` library."""

import json
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from data.errors import DataConfigError
from data.vocabularies.hugging_face import JSON_FILE, vocabulary_from_hf
from data.vocabularies.vocabulary import Vocabulary

_GPT1_CHARACTERS = 238
"""Different characters in GPT-1's vocabulary, each with and without a word's end. With <unk> and
the end of a line, these are the 478 entries beside its 40,000 merges."""
_END_OF_WORD, _UNKNOWN = "</w>", "<unk>"
_GPT2_SEPARATOR = "<|endoftext|>"

_CLEANING = (
    (r"\r\n?|[\u0085\u2028\u2029]", "\n"),
    (r"[\u2018\u2019\u201a\u201b\u00b4]", "'"),
    (r"[\u201c\u201d\u201e\u201f]", '"'),
    (r"[\u2013\u2014\u2015]", "-"),
    (r"\u2026", "..."),
    (r"[\u0000-\u0008\u000b\u000e-\u001f\u007f\ufeff]", ""),
)
"""Patterns and what replaces them: the part of ftfy's and of GPT-1's own cleaning (text_utils.py of
openai/finetune-transformer-lm) that needs no tables. Mojibake is not repaired."""
_GPT1_WORDS = (
    r"\n(?=[^\S\n]*\S)"  # the last of several ends of lines
    r"|[^\W\d_]+?(?=n't(?![^\W_]))|n't(?![^\W_])|'(?:s|m|d|re|ve|ll)(?![^\W_])"
    r"|\d+(?:\.\d+)+|[^\W_]+"
    r"|([^\w\s]|_)\1*"  # runs of one punctuation mark, as in text_utils.py
)
"""The words that byte pairs are merged in, instead of spaCy's: contractions in two, as spaCy has
them, numbers, words and punctuation. Its lists of exceptions, such as abbreviations with dots, are
left out."""


def train_gpt1(texts: Iterable[str], size: int) -> bytes:
    """Train GPT-1's kind and return its tokenizer.json: lower-case words with a mark at their end.

    A text with too few words gives fewer than `size` tokens.
    """
    tokenizer = Tokenizer(BPE(unk_token=_UNKNOWN, end_of_word_suffix=_END_OF_WORD))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            *(normalizers.Replace(Regex(pattern), text) for pattern, text in _CLEANING),
            normalizers.Lowercase(),
            normalizers.Strip(),
        ]
    )
    # Only the matches are kept: the spaces between words have no tokens.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_GPT1_WORDS), "removed", invert=True)
    tokenizer.decoder = decoders.BPEDecoder(suffix=_END_OF_WORD)
    texts = [tokenizer.normalizer.normalize_str(text) for text in texts]
    # Each character takes up to two tokens; most of a small vocabulary is left to merges.
    alphabet = _most_frequent(texts, min(_GPT1_CHARACTERS, size // 6))
    trainer = BpeTrainer(
        vocab_size=size,
        # The trainer numbers the ends of words in no fixed order, unless they are there before.
        special_tokens=[_UNKNOWN, *(character + _END_OF_WORD for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        end_of_word_suffix=_END_OF_WORD,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = json.loads(tokenizer.to_str())
    trained["added_tokens"] = trained["added_tokens"][:1]  # <unk> alone is special
    return json.dumps(trained).encode()


def _most_frequent(texts: Iterable[str], number: int) -> list[str]:
    """Return the characters that words have most often, equally frequent ones by code point."""
    counts = Counter()
    for text in texts:
        counts.update(text)
    visible = [(-count, c) for c, count in counts.items() if c == "\n" or not c.isspace()]
    return sorted(character for _, character in sorted(visible)[:number])


def train_gpt2(texts: Iterable[str], size: int, setting: str) -> bytes:
    """Train GPT-2's kind and return its tokenizer.json: bytes merged inside words (section 2.2).

    One special token, the last id, separates documents. Raises DataConfigError, which names
    `setting`, if `size` does not suit the texts.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size <= len(alphabet):
        raise DataConfigError(
            f"{setting}={size} has no room for 256 bytes and a special token; set 300 or more"
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=size - 1, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (most := tokenizer.get_vocab_size() + 1) < size:
        raise DataConfigError(
            f"{setting}={size} is more than the training text has tokens for; set it to at most "
            f"{most}, or add text"
        )
    tokenizer.add_special_tokens([AddedToken(_GPT2_SEPARATOR, special=True, normalized=False)])
    return tokenizer.to_str().encode()


def gpt1_vocabulary(tokenizer_json: bytes) -> Vocabulary:
    """Return the vocabulary of `train_gpt1`. It has no marks of documents, as GPT-1's has none."""
    return _vocabulary(tokenizer_json, {"unk_token": _UNKNOWN})


def gpt2_vocabulary(tokenizer_json: bytes) -> Vocabulary:
    """Return the vocabulary of `train_gpt2`."""
    return _vocabulary(tokenizer_json, {"bos_token": _GPT2_SEPARATOR, "eos_token": _GPT2_SEPARATOR})


def _vocabulary(tokenizer_json: bytes, special_tokens: dict[str, str]) -> Vocabulary:
    # AutoTokenizer would otherwise choose a class by the model, which replaces tokenizer.json's
    # normaliser and words by its own.
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    tokenizer_config = json.dumps(settings | special_tokens, indent=2).encode()
    return vocabulary_from_hf(
        {JSON_FILE: tokenizer_json, "tokenizer_config.json": tokenizer_config}, {}
    )
