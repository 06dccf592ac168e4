"""Documents of seqio tasks through TensorFlow, which is imported once for the file."""

from collections import Counter

import pytest
import seqio
import tensorflow as tf

from data.errors import DataConfigError, DataError
from data.seqio_tasks import documents as task_documents
from data.seqio_tasks import tasks
from data.seqio_tasks.documents import TaskDocuments
from data.text.corpus import Shard

ALONE = Shard(0, 1)
TEXTS = [f"Document {number}, with a \u2581 and {'more ' * (number % 7)}" for number in range(300)]


@seqio.map_over_dataset
def as_text(line):
    return {"targets": line}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> str:
    """A set of TensorFlow Datasets, whose files may be read in any order."""

    def as_text_feature(text):
        return {"text": text}

    folder = tmp_path_factory.mktemp("tfds")
    tasks.tfds.dataset_builders.store_as_tfds_dataset(
        name="small",
        version="1.0.0",
        features=tasks.tfds.features.FeaturesDict({"text": tasks.tfds.features.Text()}),
        split_datasets={
            "train": tf.data.Dataset.from_tensor_slices(tf.constant(TEXTS)).map(as_text_feature)
        },
        data_dir=str(folder),
    )
    return str(folder)


def add(source) -> seqio.Task:
    return seqio.TaskRegistry.add(
        "test_documents",
        source=source,
        preprocessors=[as_text],
        output_features={"targets": tasks.TEXT},
        metric_fns=[],
    )


@pytest.fixture(params=["tfds", "lines", "function"])
def task(request, prepared, tmp_path, monkeypatch):
    """The same texts from a set, from two files of lines, and from a function."""
    monkeypatch.setattr(task_documents, "SHUFFLE_DOCUMENTS", 40)
    monkeypatch.setattr(tasks, "_BATCH_DOCUMENTS", 7)
    if request.param == "tfds":
        yield tasks.register_tfds("test_documents", "small:1.0.0", prepared, {"train": "train"})
    elif request.param == "function":
        yield tasks.register("test_documents", lambda split: iter(TEXTS))
    else:
        for name, part in (("a", TEXTS[:100]), ("b", TEXTS[100:])):
            (tmp_path / f"{name}.txt").write_text("".join(text + "\n" for text in part))
        yield add(seqio.TextLineDataSource({"train": f"{tmp_path}/*.txt"}))
    seqio.TaskRegistry.remove("test_documents")
    seqio.utils.LazyTfdsLoader._MEMOIZED_BUILDERS.clear()


def read(documents: TaskDocuments, count: int) -> list[str]:
    texts: list[str] = []
    while len(texts) < count:
        texts += documents.read()
    return texts


def test_an_epoch_has_every_document_once_and_the_next_another_order(task):
    texts = read(TaskDocuments(task, ALONE, seed=0), 2 * len(TEXTS))
    first, second = texts[: len(TEXTS)], texts[len(TEXTS) :]
    assert Counter(first) == Counter(second) == Counter(TEXTS)
    assert len({tuple(first), tuple(second), tuple(TEXTS)}) == 3


def test_the_seed_is_the_order(task):
    one, again, other = (
        read(TaskDocuments(task, ALONE, seed=seed), len(TEXTS)) for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_disjoint_and_together_everything(task, count):
    """By files where there are enough of them, by documents otherwise."""
    shards = [TaskDocuments(task, Shard(index, count), seed=0) for index in range(count)]
    found: Counter[str] = Counter()
    for shard in shards:
        texts = []
        while shard._epoch == 0:
            batch = shard.read()
            texts += batch if shard._epoch == 0 else []
        assert len(texts) >= 50
        found += Counter(texts)
    assert found == Counter(TEXTS)


def test_it_goes_on_exactly_wherever_it_was_saved(task):
    """At the beginning, in the middle, at the last document of an epoch and after it."""
    whole = TaskDocuments(task, ALONE, seed=3)
    states, batches = [whole.save()], []
    for _ in range(100):
        batches.append(whole.read())
        states.append(whole.save())
    assert sum(map(len, batches)) > 2 * len(TEXTS)
    for at in (0, 1, 20, 41, 42, 43, 44, 85, 86, 87, 97):
        resumed = TaskDocuments(task, ALONE, seed=3)
        resumed.restore(states[at])
        assert [resumed.read() for _ in range(3)] == batches[at : at + 3]


def test_a_damaged_state_is_refused(task):
    state = TaskDocuments(task, ALONE, seed=0).save()
    (name,) = (name for name in state if "data" in name)
    for damage in ({name: state[name][:-100]}, {name: b""}, {"epoch": b""}):
        with pytest.raises(DataError, match="'test_documents' cannot resume where it stood"):
            TaskDocuments(task, ALONE, seed=0).restore(state | damage)


def own_task(dataset_fn) -> seqio.Task:
    seqio.TaskRegistry.remove("test_documents")
    return add(seqio.FunctionDataSource(dataset_fn, splits=["train"]))


def test_a_task_whose_iterator_cannot_be_saved_is_refused():
    def generated(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_generator(
            lambda: iter(TEXTS), output_signature=tf.TensorSpec([], tf.string)
        )

    with pytest.raises(DataConfigError, match=r"cannot be streamed: .*PyFunc is stateful.*leave"):
        TaskDocuments(own_task(generated), ALONE, seed=0)


def test_a_function_that_takes_no_seed_is_refused():
    def unseeded(split, shuffle_files):
        return tf.data.Dataset.from_tensor_slices(TEXTS)

    with pytest.raises(DataConfigError, match=r"cannot be streamed: .*seed"):
        TaskDocuments(own_task(unseeded), ALONE, seed=0)


def test_a_host_without_documents_is_told():
    def one(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensors("one")

    documents = TaskDocuments(own_task(one), Shard(1, 2), seed=0)
    with pytest.raises(DataError, match="'test_documents' has no document for host 1 of 2"):
        documents.read()
