"""From the settings of a run to its corpora and the rates at which they are drawn."""

import difflib
import functools
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from data.config import Data
from data.errors import DataConfigError
from data.text import tfds_sets
from data.text.corpus import (
    Corpus,
    DocumentReader,
    PresplitCorpus,
    Shard,
    Weighted,
    file_corpus,
)
from data.text.files import TextFiles
from data.text.stdlib import stdlib_corpus
from data.text.survey import Split

BUILT_IN = ("stdlib", *tfds_sets.SETS)


def find(config: Data, folder: Path) -> Weighted:
    """The text that `config` names. Files are read once, until they change.

    Args:
      folder: the cache.

    Raises:
      DataConfigError: no such task or module, or a rate that is not a positive number.
      DataError: no such file, text that cannot be read, or a set that is not prepared.
    """
    if config.separator == "":
        raise DataConfigError("data.separator='' separates nothing. Leave it out, or write some.")
    if config.mixture:
        return _shares([(c, r * rate) for part, rate in map(_parse_part, config.mixture)
                        for c, r in _find_part(part, config, folder)])  # fmt: skip
    if config.files is not None:
        return [(_files(config.files, config, folder), Fraction(1))]
    return _shares(_find_task(config.task, config, folder))


def _parse_part(written: str) -> tuple[str, Fraction]:
    part, equals, rate = written.rpartition("=")
    try:
        if not equals or not part:
            raise ValueError
        parsed = Fraction(rate)
    except (ValueError, ZeroDivisionError) as error:
        raise DataConfigError(
            f"data.mixture has {written!r}. Write SOURCE=RATE, such as 'stdlib=3' 'notes/*.txt=1'."
        ) from error
    if parsed <= 0:
        raise DataConfigError(
            f"data.mixture has {written!r}: a rate must be above zero. Leave the source out, or "
            "give it a positive rate."
        )
    return part, parsed


def _find_part(part: str, config: Data, folder: Path) -> Weighted:
    """A task by its name, or files by a glob: those have a slash, a dot or a wildcard."""
    if re.search(r"[/.*?\[]", part):
        return [(_files(part, config, folder), Fraction(1))]
    return _shares(_find_task(part, config, folder))


def _shares(corpora: Weighted) -> Weighted:
    total = sum(rate for _, rate in corpora)
    names = [corpus.name for corpus, _ in corpora]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataConfigError(f"data.mixture has {twice!r} twice. Write it once, with one rate.")
    return [(corpus, rate / total) for corpus, rate in corpora]


def _find_task(name: str, config: Data, folder: Path) -> Weighted:
    if name in BUILT_IN:
        return [(built_in(name, config, folder), Fraction(1))]
    if config.module is not None:
        from data.seqio_tasks import own_tasks  # imports TensorFlow, as the module will

        built_ins = {task: functools.partial(built_in, task, config, folder) for task in BUILT_IN}
        return own_tasks.find(name, config, folder, built_ins)
    near = difflib.get_close_matches(name, BUILT_IN, n=len(BUILT_IN), cutoff=0.0)
    raise DataConfigError(
        f"data.task={name!r} is not a known task. Write one of {', '.join(near)}, name your own "
        "files with data.files, or the module that registers the task with data.module."
    )


def built_in(name: str, config: Data, folder: Path) -> Corpus:
    """One of BUILT_IN. Raises DataError for a set that is not prepared."""
    source = f"data.task={name!r}"
    if name == "stdlib":
        return stdlib_corpus(folder)
    prepared = tfds_sets.find_prepared(name, config.data_dir)

    def task():
        from data.seqio_tasks import tasks  # TensorFlow

        return tasks.register_tfds(name, prepared.tfds_name, prepared.data_dir, prepared.splits)

    def read(split: Split) -> Iterator[str]:
        from data.seqio_tasks import tasks

        return tasks.texts(task(), split)

    def open_documents(shard: Shard, seed: int) -> DocumentReader:
        from data.seqio_tasks.documents import TaskDocuments

        return TaskDocuments(task(), shard, seed)

    return PresplitCorpus(
        name, source, prepared.fingerprint, read, prepared.num_documents, open_documents
    )


def _files(pattern: str, config: Data, folder: Path) -> Corpus:
    # What seqio allows in a task's name.
    name = re.sub(r"[^\w.]+", "_", pattern).strip("_.") or "files"
    files = TextFiles.matching(pattern, config)
    return file_corpus(name, f"data.files={pattern!r}", files, folder)
