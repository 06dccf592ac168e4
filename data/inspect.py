"""What a model will really see: `python -m data.inspect --data.files='notes/**/*.txt'`."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data import command
from data.batches.rows import Rows, make_rows
from data.config import Data
from data.errors import DataConfigError
from data.storage import cache_folder
from data.text.survey import SPLITS, Split
from data.tokens import cache as token_cache
from data.tokens.cache import TokenSplit
from data.training_data import encode, find_vocabulary, read_corpora
from data.vocabularies.vocabulary import Vocabulary

_BORDER = "\n──── another document ────\n"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """The flags of `python -m data.inspect`."""

    data: Data = Data()
    vocab_size: int = 4096
    """Pieces of the vocabulary to train, unless data.vocabulary names one."""
    seq_len: int = 256
    """Tokens per sequence."""
    num_windows: int = 3
    """Sequences to show decoded."""
    picture: str | None = None
    """File to make for the histogram of the documents' lengths, such as lengths.png."""
    verify: bool = False
    """Compare the checksums of the whole token caches too."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class SplitReport:
    """Numbers of one split of one source. Lengths are in tokens, BOS and EOS included."""

    source: str
    split: Split
    documents: int
    duplicates: int
    """Documents that are the same, token by token, as one before them."""
    bytes: int
    tokens: int
    bytes_per_token: float
    shortest: int
    median: int
    longest: int
    padding_if_split: float
    padding_if_whole: float


def main(argv: list[str]) -> None:
    """Encode the text as training would, and describe it."""
    flags = command.parse(
        InspectCommand, argv, prog="python -m data.inspect", description="Look at training text."
    )
    if flags.data.streaming:
        raise DataConfigError(
            "data.streaming: what is looked at here is the whole text, which is cached. Leave it out."
        )
    folder = cache_folder(flags.data.cache_dir)
    corpora = read_corpora(flags.data, folder, command.report)
    vocabulary = find_vocabulary(flags.data, corpora, flags.vocab_size, folder, command.report)
    reports, windows, lengths = [], [], {}
    for corpus, _ in corpora:
        splits = encode(corpus, vocabulary, folder, command.report)
        if flags.verify:
            token_cache.verify(Path(str(splits["train"].tokens.filename)).parent)
            command.report(f"the checksums of {corpus.name} are right")
        for split in SPLITS:
            reports.append(_describe(corpus.name, split, splits[split], vocabulary, flags))
        lengths[corpus.name] = np.diff(splits["train"].offsets)
        rows = make_rows(flags.data, splits["train"], vocabulary, flags.seq_len, flags.num_windows)
        windows += _decoded(rows, vocabulary)
    if flags.picture is not None:
        _draw(lengths, Path(flags.picture).expanduser())
    if flags.json:
        report = {
            "vocabulary": {"size": vocabulary.size, "fingerprint": vocabulary.fingerprint},
            "splits": [asdict(each) for each in reports],
            "windows": windows,
            "picture": flags.picture,
        }
        print(json.dumps(report))
        return
    for each in reports:
        print(_sentence(each, flags.seq_len))
    for name, each in lengths.items():
        print(f"{name}, train: lengths of the documents, {_bars(each)}")
    print(f"picture: {flags.picture}" if flags.picture else "as a picture: --picture=lengths.png")
    for number, window in enumerate(windows, start=1):
        print(f"\n════ sequence {number} ════\n{window}")


def _describe(
    source: str, split: Split, encoded: TokenSplit, vocabulary: Vocabulary, flags: InspectCommand
) -> SplitReport:
    lengths = np.diff(encoded.offsets)
    padding = {
        packing: make_rows(
            replace(flags.data, packing=packing), encoded, vocabulary, flags.seq_len, 1
        ).padding
        for packing in ("split", "whole")
    }
    return SplitReport(
        source=source,
        split=split,
        documents=len(lengths),
        duplicates=len(lengths) - len(set(_digests(encoded))),
        bytes=encoded.num_bytes,
        tokens=len(encoded.tokens),
        bytes_per_token=encoded.num_bytes / len(encoded.tokens),
        shortest=int(lengths.min()),
        median=int(np.median(lengths)),
        longest=int(lengths.max()),
        padding_if_split=padding["split"],
        padding_if_whole=padding["whole"],
    )


def _digests(encoded: TokenSplit) -> Iterator[bytes]:
    for start, end in zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True):
        yield hashlib.blake2b(encoded.tokens[start:end].data, digest_size=12).digest()


def _decoded(rows: Rows, vocabulary: Vocabulary) -> list[str]:
    """The first training sequences, with a line where one document ends and another begins."""
    batch = rows.train_batch(0)
    return [
        _BORDER.join(
            vocabulary.decode(inputs[segments == segment].tolist())
            for segment in range(1, segments.max() + 1)
        )
        for inputs, segments in zip(batch["inputs"], batch["segment_ids"], strict=True)
    ]


def _sentence(r: SplitReport, seq_len: int) -> str:
    return (
        f"{r.source}, {r.split}: {r.documents:,} documents ({r.duplicates:,} duplicates), "
        f"{r.bytes / 1e6:,.2f} MB, {r.tokens:,} tokens, {r.bytes_per_token:.2f} bytes a token; "
        f"a document has {r.shortest:,} to {r.longest:,} tokens, half of them below {r.median:,}; "
        f"in sequences of {seq_len:,}, padding is {r.padding_if_split:.2%} if documents are split "
        f"and {r.padding_if_whole:.2%} if they are kept whole"
    )


def _bars(lengths: np.ndarray) -> str:
    """A histogram in one line, on a logarithmic scale."""
    shortest, longest = int(lengths.min()), int(lengths.max())
    edges = np.geomspace(shortest, longest + 1, 25)
    counts, _ = np.histogram(lengths, edges)
    heights = -(-counts * (len(_HEIGHTS) - 1) // counts.max())  # rounded up: what is there is seen
    return f"{shortest:,} {''.join(_HEIGHTS[height] for height in heights)} {longest:,}"


def _draw(lengths: dict[str, np.ndarray], path: Path) -> None:
    """A histogram of lengths in tokens, on a logarithmic scale, for each source."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    longest = max(int(each.max()) for each in lengths.values())
    bins = np.geomspace(1, longest + 1, 40)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, each in lengths.items():
        axes.hist(each, bins=bins.tolist(), alpha=0.6, label=f"{name}: {len(each):,} documents")
    axes.set(xscale="log", xlabel="tokens in a document", ylabel="documents")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    command.run(main)
