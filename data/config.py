"""What a run reads, as plain data. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which text a run reads and in which order."""

    task: str = "stdlib"
    """A registered seqio task. `stdlib` is the Python standard library's own source text."""
    files: str | None = None
    """Your own text: a glob such as 'notes/**/*.txt' (UTF-8, one document a file). Replaces the task."""
    seed: int = 0
    """Seed of the order in which the training windows are seen."""
    cache_dir: str | None = None
    """Where vocabularies and token caches are kept; by default the user's cache folder."""
