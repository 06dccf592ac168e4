"""Train a vocabulary: `python -m data.vocabulary --task=stdlib --size=32000 --out=runs/vocabulary`.

`--data.vocabulary=FOLDER` then trains a model with it.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from data import command
from data.config import Data
from data.errors import DataConfigError
from data.storage import cache_folder, growing_folder
from data.training_data import MAX_VOCABULARY_BYTES, read_corpora, training_sample
from data.vocabularies.files import vocabulary_from_files
from data.vocabularies.imported import JSON_FILE, SPECIAL_IDS_FILE, SpecialIds
from data.vocabularies.sentencepiece_model import (
    BOS_ID,
    EOS_ID,
    MODEL_FILE,
    PAD_ID,
    UNK_ID,
    train_sentencepiece,
)
from data.vocabularies.vocabulary import Vocabulary

Style = Literal["gpt2", "jurassic1", "gopher", "chinchilla", "palm", "llama"]

_SENTENCEPIECE: Mapping[str, Mapping[str, Any]] = {
    # Lieber et al. 2021, section 2.2: tokens are not restricted to word boundaries.
    "jurassic1": {"split_by_whitespace": False, "split_digits": False},
    # Rae et al. 2021, section 3.1: NFKC, which Hoffmann et al. 2022 left out.
    "gopher": {"normalization_rule_name": "nfkc", "split_digits": False},
    # Hoffmann et al. 2022, section 4.1: without NFKC normalisation.
    "chinchilla": {"split_digits": False},
    # Chowdhery et al. 2022, section 2.
    "palm": {},
    # Touvron et al. 2023, section 2.1: byte pairs, split digits, bytes for unknown characters.
    "llama": {},
}
"""The settings in which each paper's SentencePiece differs from PaLM's, which keeps white space,
splits digits and spells unknown characters in bytes. Where a paper is silent, PaLM's setting is
used, so that these vocabularies are lossless too."""
_GPT2_SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class VocabularyCommand:
    """The flags of `python -m data.vocabulary`."""

    data: Data = Data()
    size: int = 32_000
    """Tokens, special ones and single bytes included. A unigram vocabulary may get fewer."""
    style: Style = "palm"
    """The paper whose settings are used: gpt2 is byte-level BPE, the others are SentencePiece. All
    but gopher, which normalises by NFKC as the paper did, give back every text exactly."""
    model_type: Literal["bpe", "unigram"] = "bpe"
    """The way SentencePiece chooses tokens: by merging pairs, or by pruning a language model."""
    out: str = "vocabulary"
    """Folder to make."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Train a vocabulary on the text's training split, and write its folder."""
    flags = command.parse(
        VocabularyCommand, argv, prog="python -m data.vocabulary", description="Train a vocabulary."
    )
    out = Path(flags.out).expanduser()
    if out.exists():
        raise DataConfigError(f"--out={flags.out} exists already; name another folder")
    corpora = read_corpora(flags.data, cache_folder(flags.data.cache_dir), command.report)
    command.report(
        f"training {flags.size:,} tokens on at most {MAX_VOCABULARY_BYTES / 1e6:.0f} MB of the text"
    )
    start_s = time.monotonic()
    vocabulary = train(training_sample(corpora), flags.size, flags.style, flags.model_type)
    command.report(f"{vocabulary.size:,} tokens in {time.monotonic() - start_s:.1f} s")
    held_out = next(corpora[0][0].texts("validation"))
    num_tokens = len(vocabulary.encode(held_out))
    bytes_per_token = len(held_out.encode("utf-8")) / num_tokens
    with growing_folder(out, lambda: None) as folder:
        for name, content in vocabulary.to_files().items():
            (folder / name).write_bytes(content)
    if flags.json:
        summary = {
            "out": flags.out,
            "size": vocabulary.size,
            "style": flags.style,
            "bytes_per_token": bytes_per_token,
            "fingerprint": vocabulary.fingerprint,
        }
        print(json.dumps(summary))
        return
    print(
        f"{flags.out}: {vocabulary.size:,} tokens, {bytes_per_token:.2f} bytes per token on the "
        "first held-out document"
    )
    print(f"next: --data.vocabulary={flags.out} --model.vocab-size={vocabulary.size}")


def train(
    texts: Iterable[str], size: int, style: Style, model_type: Literal["bpe", "unigram"]
) -> Vocabulary:
    """Train a vocabulary of at most `size` tokens.

    Raises DataConfigError if `size` does not suit the texts, or `model_type` the style.
    """
    if style == "gpt2":
        if model_type != "bpe":
            raise DataConfigError("--style=gpt2 is byte-level BPE; leave out --model-type")
        return _train_byte_level(texts, size)
    options = dict(_SENTENCEPIECE[style])
    if model_type == "unigram":
        # The size is an upper limit. The coverage is the trainer's default: each rare character
        # beyond it would take a token.
        options |= {
            "model_type": "unigram",
            "hard_vocab_limit": False,
            "character_coverage": 0.9995,
        }
    files = {MODEL_FILE: train_sentencepiece(texts, size, options)}
    if "normalization_rule_name" in options:  # not lossless
        special_ids = SpecialIds(bos_id=BOS_ID, eos_id=EOS_ID, pad_id=PAD_ID, unk_id=UNK_ID)
        files[SPECIAL_IDS_FILE] = json.dumps(asdict(special_ids)).encode()
    return vocabulary_from_files(files)


def _train_byte_level(texts: Iterable[str], size: int) -> Vocabulary:
    """Train GPT-2's kind: pairs of bytes merged inside words (Radford et al. 2019, section 2.2).

    One special token, the last id, separates documents.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size <= len(alphabet):
        raise DataConfigError(
            f"--size={size} has no room for 256 bytes and a special token; set 300 or more"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (most := tokenizer.get_vocab_size() + 1) < size:
        raise DataConfigError(
            f"--size={size} is more than the training text has tokens for; set it to at most "
            f"{most}, or add text"
        )
    tokenizer.add_special_tokens([AddedToken(_GPT2_SEPARATOR, special=True, normalized=False)])
    separator = tokenizer.token_to_id(_GPT2_SEPARATOR)
    special_ids = SpecialIds(bos_id=separator, eos_id=separator, pad_id=None, unk_id=None)
    return vocabulary_from_files(
        {
            JSON_FILE: tokenizer.to_str().encode(),
            SPECIAL_IDS_FILE: json.dumps(asdict(special_ids)).encode(),
        }
    )


if __name__ == "__main__":
    command.run(main)
