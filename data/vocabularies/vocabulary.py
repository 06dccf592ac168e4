"""The interface of every vocabulary: text to token ids and back."""

import abc
import codecs
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

_PROBE = "A  1\r\n\t\ufb01\u2460\u00e9 \u2019 \U0001f600 if x: \n"
"""A text that every normalisation changes: capitals, white space, a ligature, accents, quotes."""


class StreamDecoder(Protocol):
    """A decoder of one sequence, id by id, that never shows half a character."""

    def feed(self, token_id: int) -> str:
        """Return the text that `token_id` completes. Raises ValueError as `decode` does."""
        ...

    def flush(self) -> str:
        """Return what is left at the end: U+FFFD for an unfinished character, otherwise ''."""
        ...


class Vocabulary(abc.ABC):
    """The tokens that text is split into, and their ids.

    Each of the four special ids is None if the vocabulary has no such token. GPT-2's <|endoftext|>
    is both BOS and EOS: a vocabulary with `bos_id == eos_id` has one token between documents.
    """

    pad_id: int | None
    eos_id: int | None
    unk_id: int | None
    bos_id: int | None
    size: int
    """The number of ids; all are below it."""

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without BOS or EOS.

        Raises UnicodeEncodeError if the text has half of a surrogate pair.
        """

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; special tokens have none.

        Raises ValueError if an id is outside `[0, size)`.
        """

    @abc.abstractmethod
    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        """Return a decoder of the text that follows `prompt_ids`."""

    @abc.abstractmethod
    def begins_with_space(self, token_id: int) -> bool:
        """Return whether the token's text begins with a space when it stands inside a sentence."""

    @abc.abstractmethod
    def to_files(self) -> dict[str, bytes]:
        """Return the files, contents by name, that `vocabulary_from_files` reads."""

    @functools.cached_property
    def keeps_text(self) -> bool:
        """True if decoding gives back the text that was encoded; judged by a text of traps."""
        return self.decode(self.encode(_PROBE)) == _PROBE

    def as_decoded(self, text: str) -> str:
        """Return `text` as its ids spell it: unchanged if the vocabulary keeps text."""
        return text if self.keeps_text else self.decode(self.encode(text))

    def num_bytes(self, text: str, ids: Iterable[int]) -> int:
        """Return the UTF-8 bytes that the `ids` of `text` stand for, for bits per byte.

        They are the text's own, or those of the decoded ids if the vocabulary changes text: a model
        never sees what the vocabulary leaves out.
        """
        return len((text if self.keeps_text else self.decode(ids)).encode("utf-8"))

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the files, in hexadecimal."""
        digest = hashlib.sha256()
        for _, content in sorted(self.to_files().items()):
            digest.update(content)
        return digest.hexdigest()

    @property
    def start(self) -> list[int]:
        """The ids before each document: BOS if there is one."""
        return [] if self.bos_id is None else [self.bos_id]

    @property
    def end(self) -> list[int]:
        """The ids after each document: EOS if there is one and it is not BOS too.

        If EOS is BOS, the one that begins the next document ends this one.
        """
        return [] if self.eos_id is None or self.eos_id == self.bos_id else [self.eos_id]

    @property
    def separates_documents(self) -> bool:
        """True if a token stands between two documents: BOS, EOS or both."""
        return self.bos_id is not None or self.eos_id is not None


class ByteDecoder:
    """A StreamDecoder for a vocabulary in which every id stands for bytes."""

    def __init__(self, bytes_of: Callable[[int], bytes]):
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """Return the text that `token_id` completes."""
        return self._decoder.decode(self._bytes_of(token_id))

    def flush(self) -> str:
        """Return U+FFFD if a character was left unfinished, otherwise ''."""
        return self._decoder.decode(b"", final=True)
