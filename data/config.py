"""What a run reads, as plain data. Standard library only."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which text a run reads and in which order."""

    task: str = "stdlib"
    """A task or mixture of seqio (--task for short): `stdlib`, the Python standard library's own source
    text; `tiny_shakespeare`, `wiki40b_en`, `lm1b`, `c4_en` through TensorFlow Datasets; or one of
    data.module's."""
    files: str | None = None
    """Your own text: a glob such as 'notes/**/*.txt', also of .jsonl, and of both as .gz or .zst (UTF-8;
    a document is a file, or a line of JSON). Replaces the task."""
    mixture: tuple[str, ...] = ()
    """Several tasks or globs, each with the rate at which its sequences are drawn, such as
    'stdlib=3' 'notes/**/*.txt=1'. Replaces task and files."""
    module: str | None = None
    """A Python module that registers seqio tasks or mixtures of your own when it is imported."""
    field: str = "text"
    """Where a line of JSON has its text."""
    separator: str | None = None
    r"""What stands between the documents of a text file, such as '<|endoftext|>' or '\n\n\n'. None: a
    file is one document."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do at a damaged line of JSON or a file that is not UTF-8: stop, or leave it out and count
    it."""
    data_dir: str | None = None
    """Where TensorFlow Datasets keeps prepared sets, a gs:// folder too; by default the environment's
    TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    vocabulary: str | None = None
    """A vocabulary made by python -m data.vocabulary; None trains one on the text."""
    streaming: bool = False
    """Encode the training text while it is read, without a cache: for a task too large to wait for.
    Only the validation split is cached. The order is shuffled by file and in a buffer of 8,192
    documents; a resumed run goes on exactly on the same number of hosts only."""
    packing: Literal["split", "whole"] = "split"
    """How documents fill sequences. split: end to end, cut wherever a sequence is full, without
    padding. whole: a document is cut only if it is longer than a sequence; the rest is padding."""
    seed: int = 0
    """Seed of the order in which the training windows are seen."""
    allow_change: bool = False
    """Let a run go on although its text, vocabulary or order has changed."""
    cache_dir: str | None = None
    """Where vocabularies and token caches are kept; by default the user's cache folder."""
