"""Train a vocabulary: `python -m data.vocabulary --task=stdlib --size=32000 --out=runs/vocabulary`.

`--data.vocabulary=FOLDER` then trains a model with it.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from data import command
from data.config import Data, VocabularyStyle
from data.errors import DataConfigError
from data.run_vocabulary import num_training_bytes, training_sample
from data.storage import cache_folder, growing_folder
from data.training_data import read_corpora
from data.vocabularies.styles import DESCRIPTIONS, ModelType, train


@dataclass(frozen=True, kw_only=True)
class VocabularyCommand:
    """The flags of `python -m data.vocabulary`."""

    data: Data = Data()
    size: int = 32_000
    """Tokens, special ones and single bytes included. gpt1 and unigram may get fewer."""
    style: VocabularyStyle = "palm"
    """The paper whose settings are used. gpt1 keeps lower-case words and punctuation, gopher
    normalises by NFKC; all others give back every text exactly."""
    model_type: ModelType = "bpe"
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
    _check_flags(flags.data)
    corpora = read_corpora(flags.data, cache_folder(flags.data.cache_dir), command.report)
    max_bytes = num_training_bytes(flags.data)
    command.report(
        f"training {flags.size:,} tokens in {flags.style} style ({DESCRIPTIONS[flags.style]}) on "
        f"at most {max_bytes / 1e6:,.1f} MB of the text"
    )
    start_s = time.monotonic()
    texts = training_sample(corpora, max_bytes)
    vocabulary = train(texts, flags.size, flags.style, flags.model_type, setting="--size")
    command.report(f"{vocabulary.size:,} tokens in {time.monotonic() - start_s:.1f} s")
    held_out = next(corpora[0][0].texts("validation"))
    ids = vocabulary.encode(held_out)
    bytes_per_token = vocabulary.num_bytes(held_out, ids) / len(ids)
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


def _check_flags(data: Data) -> None:
    """Refuse the settings of a run's vocabulary for which this command has flags of its own."""
    for name, flag in (("style", "--style"), ("size", "--size")):
        value = getattr(data, f"vocabulary_{name}")
        if value != getattr(Data(), f"vocabulary_{name}"):
            raise DataConfigError(
                f"--data.vocabulary-{name}={value} is a setting of a run; write {flag}={value}"
            )


if __name__ == "__main__":
    command.run(main)
