"""Tasks and mixtures that a module of the user's own registers with seqio.

A task's own splits `train` and `validation` are used as they are; without the second, documents of
the first are held out as they are of files. Its text is encoded with the run's vocabulary. Where it is
streamed, no more than the beginning of it is read to find out what it is and what to hold out.
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

from data.config import Data
from data.errors import DataConfigError, DataError
from data.seqio_tasks import tasks
from data.seqio_tasks.documents import TaskDocuments
from data.seqio_tasks.tasks import seqio  # not imported by itself: that would print
from data.text.corpus import Corpus, OpenDocuments, PresplitCorpus, SplitCorpus, Weighted
from data.text.files import Document
from data.text.survey import SPLITS, Split, Survey, read_survey, survey_path, take_survey

# Of a task that is streamed: so many documents of C4 are 200 MB, read in 2 s.
_MAX_SURVEYED = 100_000


BuiltIns = Mapping[str, Callable[[], Corpus]]
"""The zoo's own tasks, which a mixture may name, by what opens them."""


def find(name: str, config: Data, folder: Path, built_ins: BuiltIns) -> Weighted:
    """The task or mixture `name`, after `config.module` was imported.

    Raises:
      DataConfigError: the module cannot be imported or registers no such name, or a rate is not
        positive.
      DataError: its data is not there or cannot be read.
    """
    module = str(config.module)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        raise DataConfigError(
            f"data.module={module!r} cannot be imported: {type(error).__name__}: {error}. It must "
            "be a Python module on the path, or in the folder of the command."
        ) from error
    version = _sha256(Path(str(imported.__file__)).read_bytes()) if imported.__file__ else ""
    if name in seqio.MixtureRegistry.names():
        mixture = seqio.MixtureRegistry.get(name)
        rates = [(task, Fraction(mixture.get_rate(task))) for task in mixture.tasks]
    elif name in seqio.TaskRegistry.names():
        rates = [(seqio.TaskRegistry.get(name), Fraction(1))]
    else:
        known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
        near = difflib.get_close_matches(name, known, n=8, cutoff=0.0)
        raise DataConfigError(
            f"data.task={name!r} is not registered by data.module={module!r}. "
            f"Write one of {', '.join(near)}."
        )
    for task, rate in rates:
        if rate <= 0:
            raise DataConfigError(
                f"The mixture {name!r} gives {task.name!r} the rate {float(rate):g}; it must be "
                "above zero."
            )
    return [(_corpus(task, version, config, folder, built_ins), rate) for task, rate in rates]


def _corpus(
    task: seqio.Task, version: str, config: Data, folder: Path, built_ins: BuiltIns
) -> Corpus:
    if task.name in built_ins:
        return built_ins[task.name]()
    source = f"data.task={task.name!r}"
    key = _key(task, version)
    if "train" not in task.splits:
        raise DataConfigError(f"{source} has no split `train`, only {', '.join(task.splits)}.")
    read = functools.partial(tasks.texts, task)
    open_documents = functools.partial(TaskDocuments, task)
    limit = _MAX_SURVEYED if config.streaming else None
    if "validation" in task.splits:
        fingerprint = key or _fingerprint(read, version, limit)
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
            f"{source} has {survey.num_documents:,} documents, too few to hold any out of a stream. "
            "Leave out data.streaming."
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


def _key(task: seqio.Task, version: str) -> str | None:
    """Changes when the task's text may have changed; None if only reading all of it can tell.

    Args:
      version: of the module, whose functions may change the text.
    """
    source = task.source
    match source:
        case seqio.TfdsDataSource():
            folder = source.tfds_dataset.builder.data_path
            description = folder / "dataset_info.json"
            if not description.exists():
                raise DataError(
                    f"data.task={task.name!r} is not prepared: there is no {description}. Prepare "
                    "the set with TensorFlow Datasets, or say where it is with TFDS_DATA_DIR."
                )
            about = [str(folder), _sha256(description.read_bytes())]
        case seqio.FileDataSource():
            paths = [Path(path) for split in task.splits for path in source.list_shards(split)]
            about = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths if p.exists()]
            if len(about) < len(paths):  # a folder that is not of this machine's disk
                return None
        case _:
            return None
    return _sha256(json.dumps([task.name, version, about]).encode())


def _fingerprint(read: Callable[[Split], Iterator[str]], version: str, limit: int | None) -> str:
    """Of the whole text, or of the first `limit` documents of each split and the module's version."""
    digest = hashlib.sha256(b"" if limit is None else version.encode())
    for split in SPLITS:
        for text in itertools.islice(read(split), limit):
            content = text.encode("utf-8")
            digest.update(len(content).to_bytes(8, "little") + content)
        digest.update(b"\xff" * 8)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
