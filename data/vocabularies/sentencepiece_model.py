"""SentencePiece models: train one that loses no text, read one, and spell its tokens in bytes."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sentencepiece

from data.errors import DataConfigError, DataError

MODEL_FILE = "tokenizer.model"
"""The file name under which every program looks for a SentencePiece model."""

PAD_ID, EOS_ID, UNK_ID, BOS_ID = 0, 1, 2, 3

SPACE_MARK = "\u2581"
"""The character that stands for a space inside SentencePiece's tokens."""

TRAINER_OPTIONS = {
    "model_type": "bpe",
    # Lossless: text is not normalised, and a character without a token is spelt in bytes.
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
    "character_coverage": 1.0,
    # Without it every space of an indentation is a token: 2.1 instead of 3.4 bytes per token.
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
    "pad_id": PAD_ID,
    "eos_id": EOS_ID,
    "unk_id": UNK_ID,
    "bos_id": BOS_ID,
    "pad_piece": "<pad>",
    "max_sentence_length": 65536,
    # The same text gives the same bytes: no sampling, and a fixed number of threads, because the
    # model stores that number.
    "shuffle_input_sentence": False,
    "num_threads": 2,
    "minloglevel": 2,
}
# The trainer strips the end of each "sentence": if each were one line, it would never learn
# newlines. Whole files are too long for it.
TRAINING_PART_CHARACTERS = 4096
_LEAST_COVERAGE = 0.98
"""The trainer refuses to spell more of its text in bytes."""
_TOO_MANY_CHARACTERS = re.compile(r"required_chars\. \S+ vs (\d+)")
"""The trainer's message, with the tokens that its text needs at the least."""


def train_sentencepiece(
    texts: Iterable[str], size: int, options: Mapping[str, Any], setting: str = "model.vocab_size"
) -> bytes:
    """Train a SentencePiece model of `size` tokens and return it serialized.

    `options` of SentencePiece's trainer replace those of a lossless vocabulary. If the texts have
    more different characters than fit, only the most frequent ones become tokens, about a quarter
    of all or as many as make up 98 % of the text; the others are spelled in bytes. Raises
    DataConfigError, which names `setting`, if these and the bytes do not fit, or the texts have too
    few repetitions to fill `size`.
    """
    parts = [part for text in texts for part in split_text(text, TRAINING_PART_CHARACTERS)]
    settings = TRAINER_OPTIONS | dict(options) | {"vocab_size": size}
    try:
        try:
            return _train(parts, settings)
        except RuntimeError as error:
            if _TOO_MANY_CHARACTERS.search(str(error)) is None:
                raise
            coverage = max(_LEAST_COVERAGE, _coverage(parts, size // 4))
            return _train(parts, settings | {"character_coverage": coverage})
    except (RuntimeError, ValueError) as error:  # ValueError: more than an int can hold
        raise DataConfigError(_size_error(str(error), size, setting)) from error


def _train(parts: list[str], settings: Mapping[str, Any]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(parts), model_writer=model, **settings
    )
    return model.getvalue()


def _coverage(parts: list[str], num_characters: int) -> float:
    """Return the share of the text that its most frequent characters make up."""
    counts = Counter[str]()
    for part in parts:
        counts.update(part)
    frequent = sum(count for _, count in counts.most_common(num_characters))
    return frequent / counts.total()


def split_text(text: str, max_characters: int) -> Iterator[str]:
    """Yield parts of `text` of at most `max_characters`, cut after line ends if possible."""
    start = 0
    while start < len(text):
        end = start + max_characters
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end


def read_sentencepiece(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """Return the processor of a serialized model. Raises DataError if the model is damaged."""
    if not model:
        raise DataError("the SentencePiece model is empty")
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    # The library's own message may quote bytes of the model that are not UTF-8.
    except (RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"the SentencePiece model is damaged: {error}") from error


def token_bytes(processor: sentencepiece.SentencePieceProcessor, token_id: int) -> bytes:
    """Return the UTF-8 bytes of one token, b"" for a special token."""
    token = processor.id_to_piece(token_id)
    if processor.is_control(token_id) or processor.is_unknown(token_id):
        return b""
    if processor.is_byte(token_id):
        return bytes([int(token.removeprefix("<0x").removesuffix(">"), 16)])
    return token.replace(SPACE_MARK, " ").encode("utf-8")


def _size_error(message: str, size: int, setting: str) -> str:
    """Translate the message of SentencePiece's trainer into one that names the setting."""
    if largest := re.search(r"too high .*<= (\d+)", message):
        return (
            f"{setting}={size} is more than the training text has tokens for; "
            f"set it to at most {largest[1]}, or add text"
        )
    if smallest := _TOO_MANY_CHARACTERS.search(message):
        return (
            f"{setting}={size} is less than the training text's characters, the 256 bytes "
            f"and 4 special tokens need; set it to at least {smallest[1]}"
        )
    return (
        f"{setting}={size} cannot be trained on this text (SentencePiece: {message}); "
        "set it to 300 or more, or add text"
    )
