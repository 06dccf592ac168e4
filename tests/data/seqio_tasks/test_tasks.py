import subprocess
import sys
from typing import Any

import pytest
import seqio
import tensorflow as tf

from data import catalog
from data.config import Task
from data.errors import DataConfigError, DataError
from data.seqio_tasks import tasks
from data.text.tfds_sets import SETS

TEXTS = ("def f():\n    return 1\n", "tab\tand\r\nNUL\0", "é😀\u2581</s>", " ", "ends in NULs\0\0")


@pytest.fixture
def task():
    yield tasks.register("test_task", lambda split: iter(TEXTS[: 1 + 9 * (split == "train")]))
    seqio.TaskRegistry.remove("test_task")


def test_a_text_task_gives_the_texts_as_they_are(task):
    assert list(tasks.texts(task, "train")) == list(TEXTS)
    assert list(tasks.texts(task, "validation")) == [TEXTS[0]]


def test_how_many_pass_at_once_changes_nothing(task, monkeypatch):
    monkeypatch.setattr(tasks, "_BATCH_DOCUMENTS", 2)
    assert list(tasks.texts(task, "train")) == list(TEXTS)


def test_registering_again_replaces_the_task(task):
    assert seqio.TaskRegistry.get("test_task") is task
    again = tasks.register("test_task", lambda split: iter("ab"))
    assert seqio.TaskRegistry.get("test_task") is again
    assert list(tasks.texts(again, "train")) == ["a", "b"]


def one_example(example) -> Any:
    def read(split, shuffle_files, seed=None) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(example)

    return seqio.FunctionDataSource(read, splits=["train"])


def test_a_task_that_encodes_keeps_its_text():
    seqio.TaskRegistry.add(
        "test_encoding",
        source=one_example({"targets": TEXTS[2]}),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={"targets": seqio.Feature(seqio.ByteVocabulary())},
    )
    assert list(tasks.texts(seqio.TaskRegistry.get("test_encoding"), "train")) == [TEXTS[2]]
    seqio.TaskRegistry.remove("test_encoding")


def test_a_task_without_text_is_explained():
    task = seqio.TaskRegistry.add(
        "test_numbers",
        source=one_example({"targets": [1, 2]}),
        preprocessors=[],
        output_features={"targets": seqio.Feature(seqio.PassThroughVocabulary(9))},
    )
    with pytest.raises(
        DataConfigError, match="'test_numbers' gives no text: .*data.seqio_tasks.tasks.TEXT"
    ):
        next(tasks.texts(task, "train"))
    seqio.TaskRegistry.remove("test_numbers")


BROKEN_SOURCE = """
import tensorflow as tf
from data.seqio_tasks import tasks
import seqio
from data.errors import DataError

def read(split, shuffle_files, seed=None):
    texts = tf.data.Dataset.from_tensors({"targets": "fine"})
    broken = texts.map(lambda x: {"targets": tf.strings.substr(x["targets"], 9, 1)})
    return texts.concatenate(broken)

source = seqio.FunctionDataSource(read, splits=["train"])
task = seqio.TaskRegistry.add("broken", source=source, preprocessors=[],
                              output_features={"targets": tasks.TEXT})
try:
    list(tasks.texts(task, "train"))
except DataError as error:
    print(error)
"""


def test_what_goes_wrong_inside_tensorflow_is_said_in_a_line():
    run = subprocess.run(
        [sys.executable, "-c", "import data.seqio_tasks.tasks\n" + BROKEN_SOURCE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("the task 'broken' cannot read its train split: ")
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == ""


def test_what_texts_raise_arrives_as_it_is(task):
    def texts(split):
        yield "fine"
        raise DataError("a.jsonl:7 is not JSON.")

    failing = tasks.register("test_task", texts)
    with pytest.raises(DataError, match=r"^a\.jsonl:7 is not JSON\.$"):
        list(tasks.texts(failing, "train"))


def test_the_standard_librarys_task_is_the_text_of_a_run(tmp_path):
    whole = catalog.built_in(Task(), tmp_path)
    stdlib = seqio.TaskRegistry.get("stdlib")
    assert list(tasks.texts(stdlib, "validation")) == list(whole.texts("validation"))


def test_the_sets_of_tensorflow_datasets_are_registered_and_never_downloaded():
    for name, tfds_set in SETS.items():
        source = seqio.TaskRegistry.get(name).source
        assert isinstance(source, seqio.TfdsDataSource)
        assert source.tfds_dataset.name == f"{tfds_set.name}:{tfds_set.version}"
        assert source.tfds_dataset._read_only


@pytest.mark.parametrize(
    "module", ["data.seqio_tasks.tasks", "data.seqio_tasks.own_tasks", "data.seqio_tasks.documents"]
)
def test_importing_tensorflow_is_silent(module):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("", "")
