"""Vocabularies that came with imported weights, with their own ids and their own idea of text.

They are faithful rather than lossless: they give the ids that the weights were trained on, also
where that lowers case or adds a space.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.decoders import DecodeStream

from data.errors import DataError
from data.vocabularies.base import (
    MODEL_FILE,
    ByteDecoder,
    LosslessVocabulary,
    StreamDecoder,
    Vocabulary,
    piece_bytes,
    read_sentencepiece,
)

JSON_FILE = "tokenizer.json"
MARKS_FILE = "marks.json"
SETTINGS_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Files of Hugging Face's that are kept as they are, for the way back."""
FILES = (JSON_FILE, MODEL_FILE, MARKS_FILE, *SETTINGS_FILES)
"""All files that a vocabulary may consist of."""


@dataclass(frozen=True)
class Marks:
    """Ids that are not text; None where there is no such mark."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None


class _Imported(Vocabulary):
    """What both kinds have in common: marks, and files that are kept as they came."""

    def __init__(self, files: dict[str, bytes], marks: Marks, size: int) -> None:
        self.bos_id, self.eos_id = marks.bos_id, marks.eos_id
        self.pad_id, self.unk_id = marks.pad_id, marks.unk_id
        self.size = size
        self._files = files | {MARKS_FILE: json.dumps(asdict(marks)).encode()}
        for name, mark in asdict(marks).items():
            if mark is not None and not 0 <= mark < size:
                raise DataError(f"{name}={mark} is outside the vocabulary of {size} pieces.")

    def to_files(self) -> dict[str, bytes]:
        return self._files

    def _check_ids(self, ids: Iterable[int]) -> list[int]:
        checked = list(ids)
        for token_id in checked:
            if not 0 <= token_id < self.size:
                raise ValueError(f"id {token_id} is not in a vocabulary of {self.size} pieces")
        return checked


class TokenizersVocabulary(_Imported):
    """A tokenizer.json, run by the `tokenizers` library."""

    def __init__(self, files: dict[str, bytes], marks: Marks) -> None:
        """Raises DataError if the file is damaged or a mark lies outside it."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(files[JSON_FILE].decode("utf-8"))
        except Exception as error:  # the library raises a bare Exception
            raise DataError(f"{JSON_FILE} is damaged: {error}.") from error
        # What was set for another program's batches would cut or fill documents.
        self._tokenizer.no_truncation()
        # A document that spells out a mark must not become two documents.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        super().__init__(files, marks, 1 + max(self._tokenizer.get_vocab().values(), default=-1))

    def encode(self, text: str) -> list[int]:
        text.encode("utf-8")  # the library would panic at half of a surrogate pair
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(self._check_ids(ids), skip_special_tokens=True)

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        return _TokenizersDecoder(self._tokenizer, prompt_ids)

    def id_of(self, piece: str) -> int | None:
        """The id of a piece, if there is such a piece."""
        return self._tokenizer.token_to_id(piece)

    def begins_with_space(self, token_id: int) -> bool:
        # \u0120 stands for a space in byte-level pieces, \u2581 in those of SentencePiece.
        return (self._tokenizer.id_to_token(token_id) or "").startswith((" ", "\u0120", "\u2581"))


class _TokenizersDecoder:
    """The library's own decoder of streams. It needs the prompt: the first word of a text and the
    next one are decoded differently."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=list(prompt_ids), skip_special_tokens=True)
        self._ids = list(prompt_ids)
        self._held: list[int] = []

    def feed(self, token_id: int) -> str:
        text = self._stream.step(self._tokenizer, token_id)
        self._ids.append(token_id)
        self._held = [] if text is not None else [*self._held, token_id]
        return text or ""

    def flush(self) -> str:
        if not self._held:
            return ""
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        shown = self._tokenizer.decode(
            self._ids[: len(self._ids) - len(self._held)], skip_special_tokens=True
        )
        return whole.removeprefix(shown)


class SentencePieceVocabulary(_Imported):
    """A SentencePiece model made elsewhere, such as LLaMA's, which puts a space before every text."""

    def __init__(self, files: dict[str, bytes], marks: Marks) -> None:
        """Raises DataError if the model is damaged or a mark lies outside it."""
        self._processor = read_sentencepiece(files[MODEL_FILE])
        super().__init__(files, marks, self._processor.vocab_size())

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text.encode("utf-8"))

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode(self._check_ids(ids))

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        begun = any(self._bytes_of(token_id) for token_id in prompt_ids)
        return ByteDecoder(self._bytes_of) if begun else _FirstWordDecoder(self._bytes_of)

    def id_of(self, piece: str) -> int | None:
        """The id of a piece, if there is such a piece."""
        token_id = self._processor.piece_to_id(piece)
        return token_id if self._processor.id_to_piece(token_id) == piece else None

    def begins_with_space(self, token_id: int) -> bool:
        return self._bytes_of(token_id).startswith(b" ")

    def _bytes_of(self, token_id: int) -> bytes:
        (token_id,) = self._check_ids([token_id])
        return piece_bytes(self._processor, token_id)


class _FirstWordDecoder(ByteDecoder):
    """Leaves out the space that the vocabulary puts before a text's first word."""

    _begun = False

    def feed(self, token_id: int) -> str:
        text = super().feed(token_id)
        if self._begun or not text:
            return text
        self._begun = True
        return text.removeprefix(" ")


def from_files(files: dict[str, bytes]) -> Vocabulary:
    """The inverse of `to_files`, for a vocabulary of any kind. Raises DataError."""
    if MARKS_FILE not in files:
        return LosslessVocabulary(files.get(MODEL_FILE, b""))
    try:
        marks = Marks(**json.loads(files[MARKS_FILE]))
    except (ValueError, TypeError) as error:
        raise DataError(f"{MARKS_FILE} is damaged: {error}.") from error
    return _imported(files, marks)


def read_vocabulary(path: str) -> Vocabulary:
    """The vocabulary in the folder `path`, from `python -m data.vocabulary`, or in one model file.

    Raises:
      DataError: it is not there, or is damaged.
    """
    folder = Path(path).expanduser()
    try:
        if folder.is_dir():
            found = {name: folder / name for name in FILES if (folder / name).is_file()}
        else:
            found = {MODEL_FILE: folder}
        return from_files({name: file.read_bytes() for name, file in found.items()})
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"data.vocabulary={path!r} cannot be used: {reason} "
            "Make one with python -m data.vocabulary --out=FOLDER."
        ) from error


def from_hf(files: dict[str, bytes], config: dict[str, Any]) -> Vocabulary:
    """The vocabulary of a Hugging Face folder.

    Args:
      files: those of the folder among tokenizer.json, tokenizer.model and SETTINGS_FILES.
      config: config.json, whose ids count where the tokenizer names no mark.

    Raises:
      DataError: there is no tokenizer, it is damaged or it does not know its own marks.
    """
    pieces = _imported(files, Marks(None, None, None, None))
    named: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            named |= json.loads(files.get(name, b"{}"))
        except (ValueError, TypeError) as error:
            raise DataError(f"{name} is damaged: {error}.") from error

    def mark(name: str) -> int | None:
        token = named.get(f"{name}_token")
        if token is not None:
            content = token["content"] if isinstance(token, dict) else token
            return pieces.id_of(content)
        found = config.get(f"{name}_token_id")
        found = found[0] if isinstance(found, list) and found else found
        return found if isinstance(found, int) and 0 <= found < pieces.size else None

    bos_id, eos_id, pad_id, unk_id = (mark(name) for name in ("bos", "eos", "pad", "unk"))
    # Some tokenizers name a mark that means something as padding too: there is no padding then.
    pad_id = None if pad_id in (bos_id, eos_id, unk_id) else pad_id
    unk_id = None if unk_id in (bos_id, eos_id) else unk_id
    return _imported(files, Marks(bos_id, eos_id, pad_id, unk_id))


def _imported(
    files: dict[str, bytes], marks: Marks
) -> "TokenizersVocabulary | SentencePieceVocabulary":
    if JSON_FILE in files:
        return TokenizersVocabulary(files, marks)
    if MODEL_FILE in files:
        return SentencePieceVocabulary(files, marks)
    raise DataError(f"there is neither a {JSON_FILE} nor a {MODEL_FILE}")
