"""Tasks and mixtures that a user's module registers with seqio.

A task's own splits `train` and `validation` are used as they are. Without a `validation` split,
documents of `train` are held out as they are for files. The text is encoded with the run's
vocabulary. If the task is streamed, only its beginning is read to fingerprint it and to decide what
to hold out.
"""

import difflib
import functools
import hashlib
import importlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from data.errors import DataConfigError, DataError
from data.seqio_tasks import tasks
from data.seqio_tasks.documents import TaskDocuments
from data.seqio_tasks.tasks import seqio  # not imported by itself: that would print
from data.text.corpus import Corpus, OpenDocuments, PresplitCorpus, SplitCorpus, Weighted
from data.text.files import Document
from data.text.survey import SPLITS, Split, Survey, read_survey, survey_path, take_survey

_MAX_SURVEYED = 100_000
"""Documents of a streamed task that are surveyed. As many of C4 are 200 MB and take 2 s to read."""

BuiltIns = Mapping[str, Callable[[], Corpus]]
"""Functions that open the zoo's own tasks, by name. A mixture may name these tasks."""


def find(name: str, module: str, folder: Path, built_ins: BuiltIns, *, streaming: bool) -> Weighted:
    """Import `module` and return the corpora of its task or mixture `name`.

    Raises DataConfigError if the module cannot be imported or registers no such name, or if a rate
    is not positive, and DataError if the data is missing or cannot be read.

    Args:
      folder: the cache.
    """
    version = _import_module(module)
    if name in seqio.MixtureRegistry.names():
        mixture = seqio.MixtureRegistry.get(name)
        rates = [(task, Fraction(mixture.get_rate(task))) for task in mixture.tasks]
    elif name in seqio.TaskRegistry.names():
        rates = [(seqio.TaskRegistry.get(name), Fraction(1))]
    else:
        known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
        near = difflib.get_close_matches(name, known, n=8, cutoff=0.0)
        raise DataConfigError(
            f"data.task={name!r} is not registered by data.module={module!r}; "
            f"write one of {', '.join(near)}"
        )
    for task, rate in rates:
        if rate <= 0:
            raise DataConfigError(
                f"the mixture {name!r} gives {task.name!r} the rate {float(rate):g}; it must be "
                "above zero"
            )

    def open_corpus(task: seqio.Task) -> Corpus:
        if task.name in built_ins:
            return built_ins[task.name]()
        return _task_corpus(task, version, folder, streaming=streaming)

    return [(open_corpus(task), rate) for task, rate in rates]


def _import_module(module: str) -> str:
    """Import the module; return the hash of its source, which is the version of its functions."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        raise DataConfigError(
            f"data.module={module!r} cannot be imported: {type(error).__name__}: {error}; it must "
            "be a Python module on the path or in the current folder"
        ) from error
    return _sha256(Path(str(imported.__file__)).read_bytes()) if imported.__file__ else ""


def _task_corpus(task: seqio.Task, version: str, folder: Path, *, streaming: bool) -> Corpus:
    source = f"data.task={task.name!r}"
    key = _change_key(task, version)
    if "train" not in task.splits:
        raise DataConfigError(f"{source} has no split `train`, only {', '.join(task.splits)}")
    read = functools.partial(tasks.texts, task)
    open_documents = functools.partial(TaskDocuments, task)
    limit = _MAX_SURVEYED if streaming else None
    if "validation" in task.splits:
        fingerprint = key or _text_fingerprint(read, version, limit)
        return PresplitCorpus(task.name, source, fingerprint, read, open_documents=open_documents)

    def documents() -> Iterator[Document]:
        texts = itertools.islice(read("train"), limit)
        return (Document(str(i), text) for i, text in enumerate(texts))

    path = survey_path(folder, f"{key} {limit}")
    survey = read_survey(path) if key else None
    if survey is None:
        survey = take_survey(documents(), [])
        if key:
            survey.save(path)
    beginning = SplitCorpus(task.name, source, documents, survey)
    if limit is None:
        return beginning
    if survey.splits_inside:
        raise DataConfigError(
            f"{source} has {survey.num_documents:,} documents, too few to hold any out of a "
            "stream; leave out data.streaming"
        )
    return _streamed_corpus(beginning, survey, key or version, read, open_documents)


def _streamed_corpus(
    beginning: Corpus,
    survey: Survey,
    key: str,
    read: Callable[[Split], Iterator[str]],
    open_documents: OpenDocuments,
) -> PresplitCorpus:
    """Return a task without a validation split; some documents of its beginning are held out."""
    return PresplitCorpus(
        beginning.name,
        beginning.source,
        _sha256(f"{survey.fingerprint} {key}".encode()),
        lambda split: beginning.texts(split) if split == "validation" else read(split),
        open_documents=open_documents,
        description=(
            f"{survey.num_held_out:,} of its first {survey.num_documents:,} documents and "
            f"{survey.held_out_bytes / 1e6:.2f} MB held out"
        ),
    )


def _change_key(task: seqio.Task, version: str) -> str | None:
    """Return a key that differs if the text may have changed; None if only reading it can tell.

    Args:
      version: that of the module, whose functions may change the text.
    """
    source = task.source
    match source:
        case seqio.TfdsDataSource():
            folder = source.tfds_dataset.builder.data_path
            description = folder / "dataset_info.json"
            if not description.exists():
                raise DataError(
                    f"data.task={task.name!r} is not prepared: there is no {description}; prepare "
                    "the set with TensorFlow Datasets, or say where it is with TFDS_DATA_DIR"
                )
            state = [str(folder), _sha256(description.read_bytes())]
        case seqio.FileDataSource():
            paths = [Path(path) for split in task.splits for path in source.list_shards(split)]
            state = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths if p.exists()]
            if len(state) < len(paths):  # some are not on this machine's disk
                return None
        case _:
            return None
    return _sha256(json.dumps([task.name, version, state]).encode())


def _text_fingerprint(
    read: Callable[[Split], Iterator[str]], version: str, limit: int | None
) -> str:
    """Return the hash of all text, or of `version` and `limit` documents of each split."""
    digest = hashlib.sha256(b"" if limit is None else version.encode())
    for split in SPLITS:
        for text in itertools.islice(read(split), limit):
            content = text.encode("utf-8")
            digest.update(len(content).to_bytes(8, "little") + content)
        digest.update(b"\xff" * 8)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
