"""A vocabulary that returns every text unchanged: Jurassic-1's, Chinchilla's and PaLM's styles."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from data.errors import DataError
from data.vocabularies.sentencepiece_model import (
    BOS_ID,
    EOS_ID,
    MODEL_FILE,
    PAD_ID,
    SPACE_MARK,
    UNK_ID,
    read_sentencepiece,
    split_text,
    token_bytes,
    train_sentencepiece,
)
from data.vocabularies.vocabulary import ByteDecoder, StreamDecoder, Vocabulary

# The processor's memory grows with its input, by about 50 bytes per character.
_ENCODING_PART_CHARACTERS = 1 << 18


class LosslessVocabulary(Vocabulary):
    """A SentencePiece model trained here.

    For every valid Unicode `text`, `decode(encode(text)) == text`.
    """

    pad_id: int = PAD_ID
    eos_id: int = EOS_ID
    unk_id: int = UNK_ID
    bos_id: int = BOS_ID

    def __init__(self, model: bytes):
        """Read a serialized SentencePiece model.

        Raises DataError if `model` is damaged, or was not trained by `train_vocabulary`.
        """
        self._model = model
        self._processor = read_sentencepiece(model)
        self.size = self._processor.vocab_size()
        try:
            self._bytes_of_id = [token_bytes(self._processor, i) for i in range(self.size)]
            probe = " \t0 1\r\n  \U0001f600 "
            lossless = self.decode(self.encode(probe)) == probe
        except (RuntimeError, ValueError, IndexError) as error:
            raise DataError(f"the SentencePiece model is damaged: {error}") from error
        if not lossless:
            raise DataError("the SentencePiece model is damaged or does not keep text as it is")

    def to_bytes(self) -> bytes:
        """Return the serialized SentencePiece model, which other tools can read too."""
        return self._model

    def to_files(self) -> dict[str, bytes]:
        return {MODEL_FILE: self._model}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in split_text(text, _ENCODING_PART_CHARACTERS):
            for index, unmarked in enumerate(part.split(SPACE_MARK)):
                # A token that contains the mark decodes to a space, so the mark is spelt in bytes.
                if index:
                    ids += self._space_mark_ids
                ids += self._processor.encode(unmarked.encode("utf-8"))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; PAD, EOS, UNK and BOS have none.

        Bytes that are not UTF-8, which only a model's samples contain, become U+FFFD. Raises
        ValueError if an id is outside `[0, size)`.
        """
        decoder = self.stream_decoder()
        return "".join([decoder.feed(token_id) for token_id in ids]) + decoder.flush()

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        return ByteDecoder(self.bytes_of)

    def begins_with_space(self, token_id: int) -> bool:
        return self.bytes_of(token_id).startswith(b" ")

    def bytes_of(self, token_id: int) -> bytes:
        """Return the UTF-8 bytes of one token, possibly only a part of a character."""
        if not 0 <= token_id < self.size:
            raise ValueError(f"id {token_id} is not in a vocabulary of {self.size} tokens")
        return self._bytes_of_id[token_id]

    def token_string(self, token_id: int) -> str:
        """Return SentencePiece's name of a token: U+2581 for a space, `<0x0A>` for a byte."""
        return self._processor.id_to_piece(token_id)

    @functools.cached_property
    def _space_mark_ids(self) -> list[int]:
        return [self._processor.piece_to_id(f"<0x{b:02X}>") for b in SPACE_MARK.encode("utf-8")]


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    options: Mapping[str, Any] = MappingProxyType({}),
    setting: str = "model.vocab_size",
) -> LosslessVocabulary:
    """Train a vocabulary of exactly `size` tokens; the same texts give the same bytes.

    Raises DataConfigError as `train_sentencepiece` does, to which `options` are given.
    """
    return LosslessVocabulary(train_sentencepiece(texts, size, options, setting))
