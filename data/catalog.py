"""Find the corpora of a source of text, and the share of each in what is drawn."""

import difflib
import functools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import assert_never

from data.config import Data, Files, Mixture, PaperMixture, Source, Task
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
from data.text.packages import packages_corpus
from data.text.stand_ins import StandIns
from data.text.stdlib import stdlib_corpus
from data.text.survey import Split

INSTALLED: dict[str, Callable[[Path], Corpus]] = {
    "stdlib": stdlib_corpus,
    "packages": packages_corpus,
}
"""The tasks whose text is on every machine; each takes the cache folder."""
BUILT_IN = (*INSTALLED, *tfds_sets.SETS)
"""The tasks that need no data.module."""


def find(config: Data, folder: Path) -> Weighted:
    """Return the corpora of `config.source` with their shares. Files are read only if they changed.

    Raises DataConfigError for an unknown task or module or a rate that is not positive, and
    DataError for files that are missing, text that cannot be read, or a set that is not prepared.

    Args:
      folder: the cache.
    """
    return _corpora(config.source, folder, streaming=config.streaming)


def notes(source: Source) -> Iterator[str]:
    """Yield what is to be said about a source before its corpora: what a paper's lacks here.

    Raises as `find` does.
    """
    if isinstance(source, PaperMixture):
        yield from StandIns.find(source).describe()


def _corpora(source: Source, folder: Path, *, streaming: bool) -> Weighted:
    match source:
        case Task():
            return _rates_to_shares(_task_corpora(source, folder, streaming=streaming))
        case Files():
            return [(_file_corpus(source, folder), Fraction(1))]
        case Mixture():
            return _rates_to_shares(
                [
                    (corpus, share * part.rate)
                    for part in source.parts
                    for corpus, share in _corpora(part.source, folder, streaming=streaming)
                ]
            )
        case PaperMixture():
            mixture = StandIns.find(source).mixture(source.data_dir)
            return _corpora(mixture, folder, streaming=streaming)
        case _:
            assert_never(source)


def _rates_to_shares(corpora: Weighted) -> Weighted:
    """Divide the rates by their sum. Raises DataConfigError if a corpus appears twice."""
    total = sum(rate for _, rate in corpora)
    names = [corpus.name for corpus, _ in corpora]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DataConfigError(f"data.mixture has {repeated!r} twice; write it once, with one rate")
    return [(corpus, rate / total) for corpus, rate in corpora]


def _task_corpora(task: Task, folder: Path, *, streaming: bool) -> Weighted:
    if task.name in BUILT_IN:
        return [(built_in(task, folder), Fraction(1))]
    if task.module is not None:
        from data.seqio_tasks import own_tasks  # imports TensorFlow, as the module will

        built_ins: dict[str, Callable[[], Corpus]] = {
            name: functools.partial(built_in, Task(name, data_dir=task.data_dir), folder)
            for name in BUILT_IN
        }
        return own_tasks.find(task.name, task.module, folder, built_ins, streaming=streaming)
    near = difflib.get_close_matches(task.name, BUILT_IN, n=len(BUILT_IN), cutoff=0.0)
    raise DataConfigError(
        f"data.task={task.name!r} is not a known task; write one of {', '.join(near)}, name your "
        "own files with data.files, or the module that registers the task with data.module"
    )


def built_in(task: Task, folder: Path) -> Corpus:
    """Return the corpus of one of BUILT_IN. Raises DataError for a set that is not prepared.

    Args:
      folder: the cache.
    """
    if task.name in INSTALLED:
        return INSTALLED[task.name](folder)
    prepared = tfds_sets.find_prepared(task.name, task.data_dir)

    def register():
        from data.seqio_tasks import tasks  # imports TensorFlow

        return tasks.register_tfds(
            task.name,
            prepared.tfds_name,
            prepared.data_dir,
            prepared.splits,
            tfds_sets.SETS[task.name].field,
        )

    def read(split: Split) -> Iterator[str]:
        from data.seqio_tasks import tasks

        return tasks.texts(register(), split)

    def open_documents(shard: Shard, seed: int) -> DocumentReader:
        from data.seqio_tasks.documents import TaskDocuments

        return TaskDocuments(register(), shard, seed)

    return PresplitCorpus(
        task.name, task.setting, prepared.fingerprint, read, prepared.num_documents, open_documents
    )


def _file_corpus(files: Files, folder: Path) -> Corpus:
    # The characters that seqio allows in a task's name.
    name = re.sub(r"[^\w.]+", "_", files.pattern).strip("_.") or "files"
    return file_corpus(name, files.setting, TextFiles.matching(files), folder)
