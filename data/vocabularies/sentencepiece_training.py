"""SentencePiece's trainer, set up so that no text is lost."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sentencepiece

from data.errors import DataConfigError

PAD_ID, EOS_ID, UNK_ID, BOS_ID = 0, 1, 2, 3

TRAINER_OPTIONS = {
    "model_type": "bpe",
    # Lossless: text goes in as it is, and what has no piece is spelt in bytes.
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
    "character_coverage": 1.0,
    # Without it every space of an indentation is a token: 2.1 instead of 3.4 bytes a token.
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
    "pad_id": PAD_ID,
    "eos_id": EOS_ID,
    "unk_id": UNK_ID,
    "bos_id": BOS_ID,
    "pad_piece": "<pad>",
    "max_sentence_length": 65536,
    # The same bytes from the same text: no sampling, and a fixed number of threads, which is
    # stored in the model.
    "shuffle_input_sentence": False,
    "num_threads": 2,
    "minloglevel": 2,
}
# The trainer strips the end of each "sentence". One line a sentence would never teach it
# newlines; whole files are too long for it.
TRAINING_CHUNK = 4096


def train_sentencepiece(texts: Iterable[str], size: int, options: Mapping[str, Any]) -> bytes:
    """A serialized SentencePiece model of `size` pieces.

    Args:
      options: of SentencePiece's trainer, where they are not to be those of a lossless vocabulary.

    Raises:
      DataConfigError: the texts have too many different characters for `size`, or too few
        repetitions to fill it.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(c for text in texts for c in chunks(text, TRAINING_CHUNK)),
            model_writer=model,
            vocab_size=size,
            **(TRAINER_OPTIONS | dict(options)),
        )
    except RuntimeError as error:
        raise DataConfigError(_explain(str(error), size)) from error
    return model.getvalue()


def chunks(text: str, size: int) -> Iterator[str]:
    """Cuts `text` into at most `size` characters each, after a line end where there is one."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end


def _explain(message: str, size: int) -> str:
    """Says in the project's words what SentencePiece's trainer says in its own."""
    if largest := re.search(r"too high .*<= (\d+)", message):
        return (
            f"model.vocab_size={size} is more than the training text has pieces for. "
            f"Set it to at most {largest[1]}, or add text."
        )
    if smallest := re.search(r"required_chars\. \S+ vs (\d+)", message):
        return (
            f"model.vocab_size={size} is less than the training text's characters, the 256 bytes "
            f"and 4 special pieces need. Set it to at least {smallest[1]}."
        )
    return (
        f"No vocabulary of model.vocab_size={size} pieces can be trained on this text "
        f"(SentencePiece: {message}). Set a vocab_size of 300 or more, or add text."
    )
