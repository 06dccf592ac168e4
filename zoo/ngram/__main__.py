"""The command `python -m zoo.ngram`."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.config import Data
from models.config import check, check_above_zero
from zoo.command_line import cli


@dataclass(frozen=True, kw_only=True)
class NgramCommand:
    """The flags of `python -m zoo.ngram`."""

    data: Data = Data()
    order: int = 5
    """Tokens of the longest n-grams: each token is predicted from one less."""
    units: Literal["tokens", "bytes"] = "tokens"
    """Symbols to count: the tokens of a vocabulary, as the other models have them, or bytes."""
    vocab_size: int = 4096
    """Tokens of the vocabulary, which is trained on the text; not for --units=bytes."""
    max_tokens: int | None = None
    """Tokens to count, in whole documents drawn at random: as many as another model has seen. None:
    the whole training text."""
    out: str = "runs/ngram"
    """Folder to make, which zoo.sample and zoo.evaluate take as --checkpoint."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check_above_zero(self, "", "order", "vocab_size", "max_tokens")
        check(
            self.units == "tokens" or self.data.vocabulary is None,
            f"--data.vocabulary={self.data.vocabulary} has tokens of its own, and --units=bytes "
            "counts bytes; leave one of them out",
        )


def main(argv: list[str]) -> None:
    """Count, write the folder, and say how well the model predicts the held-out text."""
    command = cli.parse(
        NgramCommand,
        argv,
        prog="python -m zoo.ngram",
        description="Count an n-gram model of a text (interpolated modified Kneser-Ney), as "
        "something to compare a transformer with.",
    )
    from zoo.common.folders import new_folder
    from zoo.common.progress import Progress
    from zoo.ngram.model import NgramModel

    report, out = Progress(cli.console), Path(command.out).expanduser()
    vocab_size = None if command.units == "bytes" else command.vocab_size
    with new_folder(out, "--out") as folder:
        start_s = time.monotonic()
        model = NgramModel.count(
            command.data, command.order, vocab_size, command.max_tokens, report.line
        )
        report.line(
            f"{model.ngram.num_ngrams:,} n-grams of up to {command.order} {command.units} in "
            f"{model.num_tokens:,} of them, after {time.monotonic() - start_s:.1f} s"
        )
        model.write(folder)
        text = model.load_text(None, None, command.data.cache_dir, report)
        found = model.evaluate(text)
    if command.json:
        summary = {
            "out": command.out,
            "order": command.order,
            "vocab_size": model.vocabulary.size,
            "num_tokens": model.num_tokens,
            "num_ngrams": model.ngram.num_ngrams,
            **found.to_json(),
            "baselines": text.baselines,
        }
        print(json.dumps(summary))
        return
    numbers = ", ".join(f"{name} {bits:.4f}" for name, bits in text.baselines.items())
    print(f"{found.bits_per_byte:.4f} bits per byte on {text.source} ({numbers})")
    print(f"next: python -m zoo.sample --checkpoint={command.out} --prompt='def '")


if __name__ == "__main__":
    cli.run(main)
