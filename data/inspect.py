"""Show what a model will see of a text: `python -m data.inspect --data.files='notes/**/*.txt'`."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data import command
from data.batches.rows import Rows, make_rows
from data.batches.sizes import BatchSizes
from data.config import Data
from data.errors import DataConfigError
from data.run_vocabulary import find_vocabulary
from data.storage import cache_folder
from data.text.survey import SPLITS, Split
from data.tokens import cache as token_cache
from data.tokens.cache import TokenSplit
from data.training_data import encode, read_corpora
from data.vocabularies.vocabulary import Vocabulary

_BORDER = "\n──── another document ────\n"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """The flags of `python -m data.inspect`."""

    data: Data = Data()
    vocab_size: int = 4096
    """Tokens of the vocabulary to train, unless --data.vocabulary names one."""
    seq_len: int = 256
    """Tokens per sequence."""
    num_windows: int = 3
    """Sequences to show decoded."""
    picture: str | None = None
    """File to write the histogram of the documents' lengths to, such as lengths.png."""
    verify: bool = False
    """Compare the checksums of the whole token caches too."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class SplitReport:
    """The numbers of one split of one source. Lengths are in tokens, BOS and EOS included."""

    source: str
    split: Split
    documents: int
    duplicates: int
    """Documents that equal an earlier one token by token."""
    bytes: int
    tokens: int
    bytes_per_token: float
    shortest: int
    median: int
    longest: int
    padding_if_split: float
    padding_if_whole: float | None
    """None if the vocabulary has no token between documents."""


def main(argv: list[str]) -> None:
    """Encode the text as training would, and describe it."""
    flags = command.parse(
        InspectCommand,
        argv,
        prog="python -m data.inspect",
        description="Show what a model will see of a text.",
    )
    if flags.data.streaming:
        raise DataConfigError(
            "data.streaming: this command reads the whole text, which is then cached; leave it out"
        )
    folder = cache_folder(flags.data.cache_dir)
    corpora = read_corpora(flags.data, folder, command.report)
    vocabulary = find_vocabulary(flags.data, corpora, flags.vocab_size, folder, command.report)
    reports: list[SplitReport] = []
    windows: list[str] = []
    lengths: dict[str, np.ndarray] = {}
    for corpus, _ in corpora:
        splits = encode(corpus, vocabulary, folder, command.report)
        if flags.verify:
            token_cache.verify(Path(str(splits["train"].tokens.filename)).parent)
            command.report(f"the checksums of {corpus.name} are right")
        for split in SPLITS:
            reports.append(_report_on_split(corpus.name, split, splits[split], vocabulary, flags))
        lengths[corpus.name] = np.diff(splits["train"].offsets)
        sizes = BatchSizes.constant(flags.num_windows)
        rows = make_rows(flags.data, splits["train"], vocabulary, flags.seq_len, sizes)
        windows += _decode_first_batch(rows, vocabulary)
    if flags.picture is not None:
        _draw_lengths(lengths, Path(flags.picture).expanduser())
    if flags.json:
        report = {
            "vocabulary": {"size": vocabulary.size, "fingerprint": vocabulary.fingerprint},
            "splits": [asdict(split_report) for split_report in reports],
            "windows": windows,
            "picture": flags.picture,
        }
        print(json.dumps(report))
        return
    for split_report in reports:
        print(_report_sentence(split_report, flags.seq_len))
    for name, source_lengths in lengths.items():
        print(f"{name}, train: lengths of the documents, {_histogram(source_lengths)}")
    print(f"picture: {flags.picture}" if flags.picture else "as a picture: --picture=lengths.png")
    for number, window in enumerate(windows, start=1):
        print(f"\n════ sequence {number} ════\n{window}")


def _report_on_split(
    source: str, split: Split, encoded: TokenSplit, vocabulary: Vocabulary, flags: InspectCommand
) -> SplitReport:
    lengths = np.diff(encoded.offsets)
    one = BatchSizes.constant(1)
    padding = {
        packing: make_rows(
            replace(flags.data, packing=packing), encoded, vocabulary, flags.seq_len, one
        ).padding
        for packing in (("split", "whole") if vocabulary.separates_documents else ("split",))
    }
    return SplitReport(
        source=source,
        split=split,
        documents=len(lengths),
        duplicates=len(lengths) - len(set(_document_digests(encoded))),
        bytes=encoded.num_bytes,
        tokens=len(encoded.tokens),
        bytes_per_token=encoded.num_bytes / len(encoded.tokens),
        shortest=int(lengths.min()),
        median=int(np.median(lengths)),
        longest=int(lengths.max()),
        padding_if_split=padding["split"],
        padding_if_whole=padding.get("whole"),
    )


def _document_digests(encoded: TokenSplit) -> Iterator[bytes]:
    for start, end in zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True):
        yield hashlib.blake2b(encoded.tokens[start:end].data, digest_size=12).digest()


def _decode_first_batch(rows: Rows, vocabulary: Vocabulary) -> list[str]:
    """Return the first training sequences as text, with a line between two documents."""
    batch = rows.train_batch(0)
    return [
        _BORDER.join(
            vocabulary.decode(inputs[segments == segment].tolist())
            for segment in range(1, segments.max() + 1)
        )
        for inputs, segments in zip(batch["inputs"], batch["segment_ids"], strict=True)
    ]


def _report_sentence(r: SplitReport, seq_len: int) -> str:
    if_whole = (
        "they cannot be kept whole: no token separates them"
        if r.padding_if_whole is None
        else f"{r.padding_if_whole:.2%} if they are kept whole"
    )
    return (
        f"{r.source}, {r.split}: {r.documents:,} documents ({r.duplicates:,} duplicates), "
        f"{r.bytes / 1e6:,.2f} MB, {r.tokens:,} tokens, {r.bytes_per_token:.2f} bytes per token; "
        f"a document has {r.shortest:,} to {r.longest:,} tokens, half of them below {r.median:,}; "
        f"in sequences of {seq_len:,}, padding is {r.padding_if_split:.2%} if documents are split "
        f"and {if_whole}"
    )


def _histogram(lengths: np.ndarray) -> str:
    """Return a one-line histogram of lengths, on a logarithmic scale."""
    shortest, longest = int(lengths.min()), int(lengths.max())
    edges = np.geomspace(shortest, longest + 1, 25)
    counts, _ = np.histogram(lengths, edges)
    # Rounded up, so that every document is visible.
    heights = -(-counts * (len(_HEIGHTS) - 1) // counts.max())
    return f"{shortest:,} {''.join(_HEIGHTS[height] for height in heights)} {longest:,}"


def _draw_lengths(lengths: dict[str, np.ndarray], path: Path) -> None:
    """Write a histogram of lengths in tokens, on a logarithmic scale, for each source."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    longest = max(int(source_lengths.max()) for source_lengths in lengths.values())
    bins = np.geomspace(1, longest + 1, 40)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, source_lengths in lengths.items():
        label = f"{name}: {len(source_lengths):,} documents"
        axes.hist(source_lengths, bins=bins.tolist(), alpha=0.6, label=label)
    axes.set(xscale="log", xlabel="tokens in a document", ylabel="documents")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    command.run(main)
