"""Text to token ids and back: what every vocabulary does, and the one that is trained here, a
SentencePiece model that gives back every text exactly as it was."""

import abc
import codecs
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import sentencepiece

from data.errors import DataError
from data.storage import replace_file
from data.vocabularies.sentencepiece_training import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    TRAINER_OPTIONS,
    TRAINING_CHUNK,
    UNK_ID,
    chunks,
    train_sentencepiece,
)

_SPACE_MARK = "\u2581"  # stands for a space inside pieces

# The processor's memory grows with its input, by about 50 bytes a character.
_ENCODING_CHUNK = 1 << 18
# Part of the key of a cached vocabulary: raise it when the same text gives another vocabulary.
_FORMAT_VERSION = 1


class StreamDecoder(Protocol):
    """Decodes one sequence id by id and never shows half a character."""

    def feed(self, token_id: int) -> str:
        """The text that `token_id` completes. Raises ValueError as `Vocabulary.decode` does."""
        ...

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed, or ''."""
        ...


class Vocabulary(abc.ABC):
    """The pieces that text is cut into, and their ids.

    The ids of marks that are not text are None where a vocabulary has no such mark. A vocabulary
    whose `bos_id` is its `eos_id` puts one mark between documents, as GPT-2's <|endoftext|>.
    """

    pad_id: int | None
    eos_id: int | None
    unk_id: int | None
    bos_id: int | None
    size: int
    """All ids are below it."""

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of `text`, with no BOS or EOS. UnicodeEncodeError for half of a surrogate pair."""

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, without marks. ValueError for an id outside `[0, size)`."""

    @abc.abstractmethod
    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        """A decoder of the text that follows `prompt_ids`."""

    @abc.abstractmethod
    def begins_with_space(self, token_id: int) -> bool:
        """Whether the text of the id, inside a sentence, begins with a space."""

    @abc.abstractmethod
    def to_files(self) -> dict[str, bytes]:
        """Contents by name of the files that it can be made from again."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the files, in hexadecimal."""
        digest = hashlib.sha256()
        for _, content in sorted(self.to_files().items()):
            digest.update(content)
        return digest.hexdigest()

    @property
    def start(self) -> list[int]:
        """What stands before a document: BOS, where there is one."""
        return [] if self.bos_id is None else [self.bos_id]

    @property
    def end(self) -> list[int]:
        """What stands after a document: EOS, where there is one. It may be the id of BOS, and the next
        document begins with that once more: so the last document has an end, too."""
        return [] if self.eos_id is None else [self.eos_id]


MODEL_FILE = "tokenizer.model"


class LosslessVocabulary(Vocabulary):
    """A SentencePiece model trained here.

    For every valid Unicode `text`, `decode(encode(text)) == text`.
    """

    pad_id: int = PAD_ID
    eos_id: int = EOS_ID
    unk_id: int = UNK_ID
    bos_id: int = BOS_ID

    def __init__(self, model: bytes) -> None:
        """Reads a serialized SentencePiece model.

        Raises:
          DataError: `model` is damaged, or is not a model of the lossless kind trained here.
        """
        self._model = model
        self._processor = read_sentencepiece(model)
        self.size = self._processor.vocab_size()
        try:
            self._bytes_of_id = [piece_bytes(self._processor, i) for i in range(self.size)]
            probe = " \t0 1\r\n  \U0001f600 "
            lossless = self.decode(self.encode(probe)) == probe
        except (RuntimeError, ValueError, IndexError) as error:
            raise DataError(f"The SentencePiece model is damaged: {error}.") from error
        if not lossless:
            raise DataError("The SentencePiece model is damaged or does not keep text as it is.")

    def to_bytes(self) -> bytes:
        """The serialized SentencePiece model, which other tools read too."""
        return self._model

    def to_files(self) -> dict[str, bytes]:
        return {MODEL_FILE: self._model}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for chunk in chunks(text, _ENCODING_CHUNK):
            for index, part in enumerate(chunk.split(_SPACE_MARK)):
                if index:  # a piece with the mark decodes to a space: spell the mark in bytes
                    ids += self._mark_ids
                ids += self._processor.encode(part.encode("utf-8"))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; PAD, EOS, UNK and BOS have none.

        Bytes that are not UTF-8, which only a model makes up, become U+FFFD.

        Raises:
          ValueError: an id is outside `[0, size)`.
        """
        decoder = self.stream_decoder()
        return "".join([decoder.feed(token_id) for token_id in ids]) + decoder.flush()

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        return ByteDecoder(self.bytes_of)

    def begins_with_space(self, token_id: int) -> bool:
        return self.bytes_of(token_id).startswith(b" ")

    def bytes_of(self, token_id: int) -> bytes:
        """The UTF-8 bytes, maybe a part of a character, that one id stands for."""
        if not 0 <= token_id < self.size:
            raise ValueError(f"id {token_id} is not in a vocabulary of {self.size} pieces")
        return self._bytes_of_id[token_id]

    def piece(self, token_id: int) -> str:
        """What SentencePiece calls the id: U+2581 stands for a space, `<0x0A>` for a byte."""
        return self._processor.id_to_piece(token_id)

    @functools.cached_property
    def _mark_ids(self) -> list[int]:
        return [self._processor.piece_to_id(f"<0x{b:02X}>") for b in _SPACE_MARK.encode("utf-8")]


class ByteDecoder:
    """A StreamDecoder of a vocabulary whose every id stands for bytes."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """The text that `token_id` completes."""
        return self._decoder.decode(self._bytes_of(token_id))

    def flush(self) -> str:
        """U+FFFD for a character that was never completed, or ''."""
        return self._decoder.decode(b"", final=True)


def train_vocabulary(texts: Iterable[str], size: int) -> LosslessVocabulary:
    """Trains a byte-pair vocabulary of exactly `size` pieces; the same texts give the same bytes.

    Raises DataConfigError as `train_sentencepiece` does.
    """
    return LosslessVocabulary(train_sentencepiece(texts, size, {}))


def cached_vocabulary(
    texts: Iterable[str], key: str, size: int, folder: Path, report: Callable[[str], None]
) -> LosslessVocabulary:
    """What `train_vocabulary` makes of `texts`, from the cache `folder` if it stands there.

    Args:
      key: tells these texts from all others.

    Raises:
      DataConfigError: as `train_vocabulary`.
      DataError: what stands in the cache is damaged, or the cache cannot be written.
    """
    path = _cache_path(key, size, folder)
    if path.exists():
        try:
            return LosslessVocabulary(path.read_bytes())
        except (OSError, DataError) as error:
            raise DataError(f"Cannot use the vocabulary {path}: {error} Delete it.") from error
    start_s = time.monotonic()
    vocabulary = train_vocabulary(texts, size)
    replace_file(path, vocabulary.to_bytes())
    report(f"trained a vocabulary of {size:,} pieces in {time.monotonic() - start_s:.1f} s")
    return vocabulary


def _cache_path(key: str, size: int, folder: Path) -> Path:
    settings = json.dumps([_FORMAT_VERSION, TRAINING_CHUNK, size, TRAINER_OPTIONS, key])
    return folder / "vocabularies" / f"{hashlib.sha256(settings.encode()).hexdigest()}.model"


def read_sentencepiece(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """A serialized model, ready to use. Raises DataError if it is damaged."""
    if not model:
        raise DataError("The SentencePiece model is empty.")
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise DataError(f"The SentencePiece model is damaged: {error}.") from error


def piece_bytes(processor: sentencepiece.SentencePieceProcessor, token_id: int) -> bytes:
    """The UTF-8 bytes of one id, b"" for a mark that is not text."""
    piece = processor.id_to_piece(token_id)
    if processor.is_control(token_id) or processor.is_unknown(token_id):
        return b""
    if processor.is_byte(token_id):
        return bytes([int(piece.removeprefix("<0x").removesuffix(">"), 16)])
    return piece.replace(_SPACE_MARK, " ").encode("utf-8")
