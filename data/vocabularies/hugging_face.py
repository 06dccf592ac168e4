"""Vocabularies in the files of Hugging Face: imported ones, and trained ones of the same kind.

They return the ids that the tokenizer defines, even if that changes the text: some make it lower
case, some add a space.
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import tokenizers
from tokenizers.decoders import DecodeStream

from data.errors import DataConfigError, DataError
from data.vocabularies.bpe_files import MERGES_FILE, VOCAB_FILE, read_object, to_tokenizer
from data.vocabularies.sentencepiece_model import (
    MODEL_FILE,
    SPACE_MARK,
    read_sentencepiece,
    token_bytes,
)
from data.vocabularies.vocabulary import ByteDecoder, StreamDecoder, Vocabulary

JSON_FILE = "tokenizer.json"
SPECIAL_IDS_FILE = "marks.json"
NUM_IDS_FILE = "ids.json"
"""The file of a model without a tokenizer: how many token ids it has."""
SETTINGS_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Files of a Hugging Face folder that are kept unchanged, to be written again on export."""
HF_FILES = (JSON_FILE, MODEL_FILE, VOCAB_FILE, MERGES_FILE, *SETTINGS_FILES)
"""The files of a Hugging Face folder that `vocabulary_from_hf` reads."""


@dataclass(frozen=True)
class SpecialIds:
    """The ids of the special tokens; None for each that a vocabulary does not have."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None


class _HuggingFaceVocabulary(Vocabulary):
    """The part that all kinds share: special ids, and files that are kept unchanged."""

    def __init__(self, files: dict[str, bytes], special_ids: SpecialIds, size: int):
        self.bos_id, self.eos_id = special_ids.bos_id, special_ids.eos_id
        self.pad_id, self.unk_id = special_ids.pad_id, special_ids.unk_id
        self.size = size
        self._files = files | {SPECIAL_IDS_FILE: json.dumps(asdict(special_ids)).encode()}
        for name, token_id in asdict(special_ids).items():
            if token_id is not None and not 0 <= token_id < size:
                raise DataError(f"{name}={token_id} is outside the vocabulary of {size} tokens")

    def to_files(self) -> dict[str, bytes]:
        return self._files

    def _check_ids(self, ids: Iterable[int]) -> list[int]:
        checked = list(ids)
        for token_id in checked:
            if not 0 <= token_id < self.size:
                raise ValueError(f"id {token_id} is not in a vocabulary of {self.size} tokens")
        return checked


class TokenizersVocabulary(_HuggingFaceVocabulary):
    """A tokenizer.json, run by the `tokenizers` library."""

    def __init__(self, files: dict[str, bytes], special_ids: SpecialIds):
        """Read tokenizer.json. Raises DataError if it is damaged or lacks a special id."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(files[JSON_FILE].decode("utf-8"))
        except Exception as error:  # the library raises a bare Exception
            raise DataError(f"{JSON_FILE} is damaged: {error}") from error
        # Settings for another program's batches would cut or pad documents.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Text that spells out a special token must not end a document.
        self._tokenizer.encode_special_tokens = True
        size = 1 + max(self._tokenizer.get_vocab().values(), default=-1)
        super().__init__(files, special_ids, size)

    def encode(self, text: str) -> list[int]:
        text.encode("utf-8")  # the library would panic at half of a surrogate pair
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(self._check_ids(ids), skip_special_tokens=True)

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        return _TokenizersDecoder(self._tokenizer, prompt_ids, self._check_ids)

    def id_of(self, token: str) -> int | None:
        """Return the id of `token`, or None if there is no such token."""
        return self._tokenizer.token_to_id(token)

    def begins_with_space(self, token_id: int) -> bool:
        # \u0120 stands for a space in byte-level tokens.
        return (self._tokenizer.id_to_token(token_id) or "").startswith((" ", "\u0120", SPACE_MARK))


class _TokenizersDecoder:
    """The stream decoder of the `tokenizers` library.

    It needs the prompt, because the library decodes the first word of a text differently.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        prompt_ids: Sequence[int],
        check_ids: Callable[[Iterable[int]], list[int]],
    ):
        self._tokenizer = tokenizer
        self._check_ids = check_ids
        self._stream = DecodeStream(ids=list(prompt_ids), skip_special_tokens=True)
        self._ids = list(prompt_ids)
        self._pending: list[int] = []

    def feed(self, token_id: int) -> str:
        self._check_ids([token_id])
        text = self._stream.step(self._tokenizer, token_id)
        self._ids.append(token_id)
        self._pending = [] if text is not None else [*self._pending, token_id]
        return text or ""

    def flush(self) -> str:
        if not self._pending:
            return ""
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        shown = self._tokenizer.decode(
            self._ids[: len(self._ids) - len(self._pending)], skip_special_tokens=True
        )
        return whole.removeprefix(shown)


class SentencePieceVocabulary(_HuggingFaceVocabulary):
    """A SentencePiece model that may change the text; LLaMA's puts a space before every text."""

    def __init__(self, files: dict[str, bytes], special_ids: SpecialIds):
        """Read tokenizer.model. Raises DataError if it is damaged or lacks a special id."""
        self._processor = read_sentencepiece(files[MODEL_FILE])
        super().__init__(files, special_ids, self._processor.vocab_size())

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text.encode("utf-8"))

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode(self._check_ids(ids))

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> StreamDecoder:
        prompt_has_text = any(self._bytes_of(token_id) for token_id in prompt_ids)
        if prompt_has_text or not self._puts_space_first:
            return ByteDecoder(self._bytes_of)
        return _FirstWordDecoder(self._bytes_of)

    def id_of(self, token: str) -> int | None:
        """Return the id of `token`, or None if there is no such token."""
        token_id = self._processor.piece_to_id(token)
        return token_id if self._processor.id_to_piece(token_id) == token else None

    def begins_with_space(self, token_id: int) -> bool:
        return self._bytes_of(token_id).startswith(b" ")

    @functools.cached_property
    def _puts_space_first(self) -> bool:
        return self.begins_with_space(self.encode("0")[0])

    def _bytes_of(self, token_id: int) -> bytes:
        (token_id,) = self._check_ids([token_id])
        return token_bytes(self._processor, token_id)


class _FirstWordDecoder(ByteDecoder):
    """A decoder that leaves out the space that the vocabulary puts before a text's first word."""

    _has_text = False

    def feed(self, token_id: int) -> str:
        text = super().feed(token_id)
        if self._has_text or not text:
            return text
        self._has_text = True
        return text.removeprefix(" ")


class TokenIds(_HuggingFaceVocabulary):
    """The ids of a model that came without a tokenizer. They stand for no text that is known."""

    def __init__(self, files: dict[str, bytes], special_ids: SpecialIds):
        """Read the number of ids. Raises DataError if it is damaged or an id is outside."""
        size = read_object(files[NUM_IDS_FILE], NUM_IDS_FILE).get("size")
        if type(size) is not int or size < 1:
            raise DataError(f"{NUM_IDS_FILE} is damaged: it has no size")
        super().__init__(files, special_ids, size)

    def encode(self, text: str) -> NoReturn:
        raise DataConfigError(NO_TOKENIZER)

    def decode(self, ids: Iterable[int]) -> NoReturn:
        raise DataConfigError(NO_TOKENIZER)

    def stream_decoder(self, prompt_ids: Sequence[int] = ()) -> NoReturn:
        raise DataConfigError(NO_TOKENIZER)

    def begins_with_space(self, token_id: int) -> bool:
        return False


NO_TOKENIZER = (
    "this model was imported without a tokenizer and takes token ids only: import it again with "
    "--tokenizer=DIR, or give ids (zoo.sample --ids; sample_ids and score_ids in a program)"
)


def check_has_text(vocabulary: Vocabulary) -> None:
    """Raise DataConfigError if the vocabulary cannot turn text into ids."""
    if isinstance(vocabulary, TokenIds):
        raise DataConfigError(NO_TOKENIZER)


def token_ids(size: int, config: dict[str, Any]) -> TokenIds:
    """Return the vocabulary of a model without a tokenizer, with the special ids of `config`."""
    special_ids = SpecialIds(*(_id_of_config(config, name, size) for name in _SPECIAL_NAMES))
    return TokenIds({NUM_IDS_FILE: json.dumps({"size": size}).encode()}, special_ids)


def vocabulary_from_hf(files: dict[str, bytes], config: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary of a Hugging Face folder.

    `files` are those of the folder's HF_FILES that it has. A special token that they do not name
    gets its id from `config`, the folder's config.json. Raises DataError if there is no tokenizer,
    or it is damaged or lacks a special id.
    """
    settings = read_object(files.get("special_tokens_map.json", b"{}"), "special_tokens_map.json")
    tokenizer_config = read_object(
        files.get("tokenizer_config.json", b"{}"), "tokenizer_config.json"
    )
    settings |= tokenizer_config
    kept = {name: files[name] for name in (JSON_FILE, MODEL_FILE, *SETTINGS_FILES) if name in files}
    if JSON_FILE not in files and files.keys() >= {VOCAB_FILE, MERGES_FILE}:
        kept[JSON_FILE], usual_tokens = to_tokenizer(files, tokenizer_config)
        settings = usual_tokens | settings
    vocabulary = vocabulary_from_hf_files(kept, SpecialIds(None, None, None, None))

    def special_id(name: str) -> int | None:
        token = settings.get(f"{name}_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return vocabulary.id_of(token)
        return _id_of_config(config, name, vocabulary.size)

    bos_id, eos_id, pad_id, unk_id = map(special_id, _SPECIAL_NAMES)
    # Some tokenizers also use another special token as padding: then there is no padding token.
    pad_id = None if pad_id in (bos_id, eos_id, unk_id) else pad_id
    unk_id = None if unk_id in (bos_id, eos_id) else unk_id
    return vocabulary_from_hf_files(kept, SpecialIds(bos_id, eos_id, pad_id, unk_id))


_SPECIAL_NAMES = ("bos", "eos", "pad", "unk")


def _id_of_config(config: dict[str, Any], name: str, size: int) -> int | None:
    """Return the special id that config.json gives; None if there is none below `size`."""
    token_id = config.get(f"{name}_token_id")
    if isinstance(token_id, list) and token_id:
        token_id = token_id[0]
    return token_id if type(token_id) is int and 0 <= token_id < size else None


def vocabulary_from_hf_files(
    files: dict[str, bytes], special_ids: SpecialIds
) -> TokenizersVocabulary | SentencePieceVocabulary:
    """Return the vocabulary of tokenizer.json or, without one, of tokenizer.model.

    Raises DataError if there is neither, or it is damaged or lacks a special id.
    """
    if JSON_FILE in files:
        return TokenizersVocabulary(files, special_ids)
    if MODEL_FILE in files:
        return SentencePieceVocabulary(files, special_ids)
    raise DataError(
        f"there is no {JSON_FILE}, no {MODEL_FILE}, and no {VOCAB_FILE} with {MERGES_FILE}"
    )
