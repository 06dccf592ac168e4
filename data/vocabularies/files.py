"""Read vocabularies of every kind from their files."""

import json
from pathlib import Path

from data.errors import DataError
from data.vocabularies.hugging_face import (
    JSON_FILE,
    NUM_IDS_FILE,
    SETTINGS_FILES,
    SPECIAL_IDS_FILE,
    SpecialIds,
    TokenIds,
    vocabulary_from_hf_files,
)
from data.vocabularies.lossless import LosslessVocabulary
from data.vocabularies.sentencepiece_model import MODEL_FILE
from data.vocabularies.vocabulary import Vocabulary

FILES = (JSON_FILE, MODEL_FILE, NUM_IDS_FILE, SPECIAL_IDS_FILE, *SETTINGS_FILES)
"""The names of all files that a vocabulary may consist of."""


def vocabulary_from_files(files: dict[str, bytes]) -> Vocabulary:
    """Return the vocabulary whose `to_files` gave `files`. Raises DataError if they are damaged."""
    if SPECIAL_IDS_FILE not in files:
        return LosslessVocabulary(files.get(MODEL_FILE, b""))
    try:
        special_ids = SpecialIds(**json.loads(files[SPECIAL_IDS_FILE]))
    except (ValueError, TypeError) as error:
        raise DataError(f"{SPECIAL_IDS_FILE} is damaged: {error}") from error
    if NUM_IDS_FILE in files:
        return TokenIds(files, special_ids)
    return vocabulary_from_hf_files(files, special_ids)


def read_vocabulary(path: str) -> Vocabulary:
    """Read the vocabulary in `path`: a folder from `python -m data.vocabulary`, or a model file.

    Raises DataError if it is missing or damaged.
    """
    folder = Path(path).expanduser()
    try:
        if folder.is_dir():
            paths = {name: folder / name for name in FILES if (folder / name).is_file()}
        else:
            paths = {MODEL_FILE: folder}
        return vocabulary_from_files({name: file.read_bytes() for name, file in paths.items()})
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"data.vocabulary={path!r} cannot be used: {reason}; "
            "make one with python -m data.vocabulary --out=FOLDER"
        ) from error
