"""The older form of a Hugging Face tokenizer: vocab.json and merges.txt, GPT-1's and GPT-2's."""

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from data.errors import DataError

VOCAB_FILE, MERGES_FILE = "vocab.json", "merges.txt"

_WORD_END = "</w>"
"""GPT-1 marks the last token of a word; GPT-2 marks the space before a word instead."""
_GPT1_UNKNOWN, _GPT2_SPECIAL = "<unk>", "<|endoftext|>"


def to_tokenizer(
    files: Mapping[str, bytes], settings: Mapping[str, Any]
) -> tuple[bytes, dict[str, str]]:
    """Return the same tokenizer as a tokenizer.json, and the names of its usual special tokens.

    It is GPT-1's if its merges mark the ends of words, and otherwise GPT-2's. `settings` holds
    tokenizer_config.json. Raises DataError if a file is damaged.
    """
    vocab, merges = _read_vocab(files[VOCAB_FILE]), _read_merges(files[MERGES_FILE])
    ends_words = any(right.endswith(_WORD_END) for _, right in merges)
    try:
        tokenizer = _gpt1(vocab, merges) if ends_words else _gpt2(vocab, merges, settings)
    except Exception as error:  # the library raises a bare Exception
        raise DataError(f"{MERGES_FILE} does not fit {VOCAB_FILE}: {error}") from error
    names = ["unk_token"] if ends_words else ["bos_token", "eos_token", "unk_token"]
    special = _GPT1_UNKNOWN if ends_words else _GPT2_SPECIAL
    if special in vocab:
        tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False)])
    _add_tokens(tokenizer, files, settings)
    return tokenizer.to_str().encode(), {name: special for name in names if special in vocab}


def _gpt1(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    unknown = _GPT1_UNKNOWN if _GPT1_UNKNOWN in vocab else None
    model = BPE(vocab=vocab, merges=merges, end_of_word_suffix=_WORD_END, unk_token=unknown)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix=_WORD_END)
    return tokenizer


def _gpt2(
    vocab: dict[str, int], merges: list[tuple[str, str]], settings: Mapping[str, Any]
) -> Tokenizer:
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges))
    adds_space = settings.get("add_prefix_space") is True
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=adds_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _read_vocab(content: bytes) -> dict[str, int]:
    vocab = read_object(content, VOCAB_FILE)
    if not all(type(token_id) is int and 0 <= token_id < 1 << 32 for token_id in vocab.values()):
        raise DataError(f"{VOCAB_FILE} is damaged: an id is not a number that an id can have")
    if len(set(vocab.values())) < len(vocab):
        raise DataError(f"{VOCAB_FILE} is damaged: two tokens have the same id")
    return vocab


def _read_merges(content: bytes) -> list[tuple[str, str]]:
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{MERGES_FILE} is damaged: {error}") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\r")
        if not line or line.startswith("#version"):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise DataError(f"{MERGES_FILE} is damaged: line {number} is not two tokens: {line!r}")
        merges.append((parts[0], parts[1]))
    return merges


def _add_tokens(
    tokenizer: Tokenizer, files: Mapping[str, bytes], settings: Mapping[str, Any]
) -> None:
    """Add the tokens that added_tokens.json and tokenizer_config.json put beside the vocabulary."""
    added = {
        token_id: AddedToken(token, special=False)
        for token, token_id in read_object(
            files.get("added_tokens.json", b"{}"), "added_tokens.json"
        ).items()
    }
    try:
        for token_id, token in settings.get("added_tokens_decoder", {}).items():
            added[int(token_id)] = AddedToken(**token)
        in_order = sorted(added.items())
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the added tokens are damaged: {error}") from error
    for token_id, token in in_order:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(token.content) != token_id:
            raise DataError(
                f"the added token {token.content!r} has id {token_id}, which does not follow the "
                f"ids of {VOCAB_FILE} and of the tokens added before it"
            )


def read_object(content: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object of the file `name`. Raises DataError if it is damaged."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{name} is damaged: it holds no JSON object")
    return value
