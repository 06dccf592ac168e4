"""Each paper's tokenizer: its settings, its training and its cache."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, assert_never

from data.config import VocabularyStyle
from data.errors import DataConfigError, DataError
from data.storage import replace_file
from data.vocabularies import byte_pairs
from data.vocabularies.hugging_face import (
    JSON_FILE,
    SpecialIds,
    vocabulary_from_hf,
    vocabulary_from_hf_files,
)
from data.vocabularies.lossless import LosslessVocabulary, train_vocabulary
from data.vocabularies.sentencepiece_model import (
    BOS_ID,
    EOS_ID,
    MODEL_FILE,
    PAD_ID,
    TRAINER_OPTIONS,
    TRAINING_PART_CHARACTERS,
    UNK_ID,
    train_sentencepiece,
)
from data.vocabularies.vocabulary import Vocabulary

ModelType = Literal["bpe", "unigram"]
"""The way SentencePiece chooses tokens: by merging pairs, or by pruning a language model."""

DESCRIPTIONS: Mapping[VocabularyStyle, str] = {
    "gpt1": "GPT-1's: byte pairs of lower-case words",
    "gpt2": "GPT-2's: byte-level BPE",
    "jurassic1": "Jurassic-1's: SentencePiece across words",
    "gopher": "Gopher's: SentencePiece with NFKC",
    "chinchilla": "Chinchilla's: SentencePiece without NFKC",
    "palm": "PaLM's: lossless SentencePiece, digits apart",
    "llama": "LLaMA's: SentencePiece with a space before the text, digits apart",
}
"""Each style in a few words, for the log of a run."""

_SENTENCEPIECE: Mapping[VocabularyStyle, Mapping[str, Any]] = {
    # Lieber et al. 2021, section 2.2: tokens are not restricted to word boundaries. SentencePiece's
    # own limit of 16 characters would rule most of the phrases out.
    "jurassic1": {
        "split_by_whitespace": False,
        "split_digits": False,
        "max_sentencepiece_length": 256,
    },
    # Rae et al. 2021, section 3.1: NFKC, which Hoffmann et al. 2022 left out.
    "gopher": {"normalization_rule_name": "nfkc", "split_digits": False},
    # Hoffmann et al. 2022, section 4.1: without NFKC normalisation.
    "chinchilla": {"split_digits": False},
    # Chowdhery et al. 2022, section 2.
    "palm": {},
    # Touvron et al. 2023, section 2.1: byte pairs, split digits, bytes for unknown characters. Ids,
    # coverage and the space before a text are those of the released tokenizer.model.
    "llama": {
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": -1,
        "add_dummy_prefix": True,
        "character_coverage": 0.99995,
    },
}
"""The settings in which each paper's SentencePiece differs from PaLM's, which keeps white space,
splits digits and spells unknown characters in bytes. Where a paper is silent, PaLM's setting is
used."""

_LLAMA_TOKENIZER_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
}
"""The names of Meta's special tokens, and what `transformers` adds to a text."""

# Part of the key of a cached vocabulary. Raise it when the same text gives another vocabulary.
_FORMAT_VERSION = 1


def train(
    texts: Iterable[str],
    size: int,
    style: VocabularyStyle,
    model_type: ModelType = "bpe",
    setting: str = "model.vocab_size",
) -> Vocabulary:
    """Train a vocabulary of `size` tokens; gpt1 and a unigram model may get fewer.

    Raises DataConfigError if `size`, the value of `setting`, does not suit the texts, or
    `model_type` the style.
    """
    if model_type == "unigram" and style in ("gpt1", "gpt2"):
        raise DataConfigError(
            f"--model-type=unigram does not apply to data.vocabulary_style={style!r}, which is "
            "BPE; leave it out"
        )
    match style:
        case "gpt1":
            model = byte_pairs.train_gpt1(texts, size)
        case "gpt2":
            model = byte_pairs.train_gpt2(texts, size, setting)
        case "jurassic1" | "chinchilla" | "palm":
            return train_vocabulary(texts, size, _options(style, model_type), setting)
        case "gopher" | "llama":
            model = train_sentencepiece(texts, size, _options(style, model_type), setting)
        case _:
            assert_never(style)
    return _from_model(model, style)


def cached_vocabulary(
    texts: Iterable[str],
    key: str,
    size: int,
    style: VocabularyStyle,
    folder: Path,
    report: Callable[[str], None],
    setting: str = "model.vocab_size",
) -> Vocabulary:
    """Read the vocabulary of `texts` from the cache `folder`; train it first if it is missing.

    `key` identifies the texts. Raises DataConfigError as `train` does, and DataError if the cached
    file is damaged or cannot be written.
    """
    path = _cache_path(key, size, style, folder)
    if path.exists():
        try:
            vocabulary = _from_model(path.read_bytes(), style)
        except (OSError, DataError) as error:
            raise DataError(f"cannot use the vocabulary {path}: {error}; delete it") from error
        report(_describe(vocabulary, style, "from the cache"))
        return vocabulary
    start_s = time.monotonic()
    vocabulary = train(texts, size, style, setting=setting)
    replace_file(path, _to_model(vocabulary))
    report(_describe(vocabulary, style, f"trained in {time.monotonic() - start_s:.1f} s"))
    return vocabulary


def _describe(vocabulary: Vocabulary, style: VocabularyStyle, origin: str) -> str:
    return (
        f"vocabulary: {vocabulary.size:,} tokens in {style} style ({DESCRIPTIONS[style]}), {origin}"
    )


def _options(style: VocabularyStyle, model_type: ModelType) -> Mapping[str, Any]:
    if model_type == "bpe":
        return _SENTENCEPIECE[style]
    # The size is an upper limit. The coverage is the trainer's default: each rare character beyond
    # it would take a token.
    return dict(_SENTENCEPIECE[style]) | {
        "model_type": "unigram",
        "hard_vocab_limit": False,
        "character_coverage": 0.9995,
    }


def _to_model(vocabulary: Vocabulary) -> bytes:
    """Return the file that `_from_model` reads."""
    files = vocabulary.to_files()
    return files[JSON_FILE] if JSON_FILE in files else files[MODEL_FILE]


def _from_model(model: bytes, style: VocabularyStyle) -> Vocabulary:
    """Return the vocabulary of a trained tokenizer.json or SentencePiece model."""
    match style:
        case "gpt1":
            return byte_pairs.gpt1_vocabulary(model)
        case "gpt2":
            return byte_pairs.gpt2_vocabulary(model)
        case "jurassic1" | "chinchilla" | "palm":
            return LosslessVocabulary(model)
        case "gopher":
            special_ids = SpecialIds(bos_id=BOS_ID, eos_id=EOS_ID, pad_id=PAD_ID, unk_id=UNK_ID)
            return vocabulary_from_hf_files({MODEL_FILE: model}, special_ids)
        case "llama":
            config = json.dumps(_LLAMA_TOKENIZER_CONFIG, indent=2).encode()
            return vocabulary_from_hf({MODEL_FILE: model, "tokenizer_config.json": config}, {})
        case _:
            assert_never(style)


def _cache_path(key: str, size: int, style: VocabularyStyle, folder: Path) -> Path:
    options: Any = dict(TRAINER_OPTIONS)
    if style != "palm":  # PaLM's key is that of versions which had no other style
        options |= {"style": style} | dict(_SENTENCEPIECE.get(style, {}))
    if style == "gpt1":
        options |= {"alphabet": "by frequency"}  # the first version's was in no fixed order
    settings = json.dumps([_FORMAT_VERSION, TRAINING_PART_CHARACTERS, size, options, key])
    return folder / "vocabularies" / f"{hashlib.sha256(settings.encode()).hexdigest()}.model"
