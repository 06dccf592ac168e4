"""The folder of an n-gram model."""

from pathlib import Path

SETTINGS_FILE, COUNTS_FILE, VOCABULARY_FOLDER = "ngram.json", "ngram.npz", "vocabulary"


def is_ngram(path: str | Path) -> bool:
    """Return whether the folder holds an n-gram model."""
    return (Path(path).expanduser() / SETTINGS_FILE).is_file()
