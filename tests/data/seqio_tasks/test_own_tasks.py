import sys
import textwrap

import pytest
import seqio

from data import catalog
from data.config import Data, Task
from data.errors import DataConfigError, DataError
from data.seqio_tasks import own_tasks
from data.text.corpus import Shard

MODULE = """
    import functools
    import seqio
    import tensorflow as tf
    from data.seqio_tasks.tasks import TEXT

    FEATURES = {"targets": TEXT}
    RENAME = functools.partial(seqio.preprocessors.rekey, key_map={"targets": "text"})

    def read(split, shuffle_files, seed=None):
        texts = [f"{split} {number}" for number in range(30)]
        return tf.data.Dataset.from_tensor_slices({"text": texts})

    def add(name, source):
        seqio.TaskRegistry.remove(name)
        seqio.TaskRegistry.add(name, source=source, preprocessors=[RENAME],
                               output_features=FEATURES, metric_fns=[])

    @seqio.map_over_dataset
    def as_text(line):
        return {"text": line}

    add("own_both", seqio.FunctionDataSource(read, splits=["train", "validation"]))
    add("own_one", seqio.FunctionDataSource(read, splits=["train"]))
    add("own_neither", seqio.FunctionDataSource(read, splits=["test"]))
    add("own_tfds", seqio.TfdsDataSource("c4/en:3.1.0", tfds_data_dir="nowhere"))
    seqio.TaskRegistry.remove("own_lines")
    seqio.TaskRegistry.add("own_lines", source=seqio.TextLineDataSource({"train": "LINES"}),
        preprocessors=[as_text, RENAME], output_features=FEATURES, metric_fns=[])
    for name, rate in (("own_mix", 3), ("own_zero", 0)):
        seqio.MixtureRegistry.remove(name)
        seqio.MixtureRegistry.add(name, [("own_both", rate), ("own_one", 1)])
    seqio.MixtureRegistry.remove("own_and_stdlib")
    seqio.MixtureRegistry.add("own_and_stdlib", [("stdlib", 1), ("own_one", 1)])
"""


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Finds a task of a module in the folder of the command."""
    (tmp_path / "lines.txt").write_text("".join(f"line {number}\n" for number in range(50)))
    source = textwrap.dedent(MODULE).replace("LINES", str(tmp_path / "lines.txt"))
    (tmp_path / "my_tasks.py").write_text(source)
    (tmp_path / "broken_tasks.py").write_text("import no_such_module_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda task, module="my_tasks", streaming=False: catalog.find(
        Data(source=Task(task, module), streaming=streaming), tmp_path / "cache"
    )
    for registry in (seqio.MixtureRegistry, seqio.TaskRegistry):
        for name in [name for name in registry.names() if name.startswith("own_")]:
            registry.remove(name)
    sys.modules.pop("my_tasks", None)


def test_a_tasks_own_splits_are_used(find):
    ((corpus, share),) = find("own_both")
    assert share == 1
    assert list(corpus.texts("train")) == [f"train {number}" for number in range(30)]
    assert list(corpus.texts("validation")) == [f"validation {number}" for number in range(30)]
    assert find("own_both")[0][0].fingerprint == corpus.fingerprint


@pytest.mark.parametrize("task", ["own_one", "own_lines"])
def test_a_task_without_validation_is_split(find, task):
    ((corpus, _),) = find(task)
    sides = [list(corpus.texts(split)) for split in ("train", "validation")]
    assert all(sides)
    assert len(sides[0]) + len(sides[1]) == (30 if task == "own_one" else 50)
    assert find(task)[0][0].fingerprint == corpus.fingerprint


@pytest.mark.parametrize("task", ["own_one", "own_both", "own_lines"])
def test_of_a_stream_only_the_beginning_is_looked_at(find, task, monkeypatch):
    monkeypatch.setattr(own_tasks, "_MAX_SURVEYED", 25)
    ((corpus, _),) = find(task, streaming=True)
    held_out = list(corpus.texts("validation"))
    documents = corpus.streamed()(Shard(0, 1), 0)
    num_documents = 50 if task == "own_lines" else 30
    texts: list[str] = []
    while len(texts) < num_documents:
        texts += documents.read()
    assert len(set(texts)) == num_documents
    kept = [text for text in texts if corpus.trains_on(text)]
    assert set(kept) == set(corpus.texts("train"))
    if task == "own_both":
        assert held_out == [f"validation {number}" for number in range(30)]
        assert len(kept) == num_documents
    else:
        assert set(held_out) == set(texts) - set(kept)
        assert all(int(text.split()[-1]) < 25 for text in held_out)
        assert f"{len(held_out)} of its first 25 documents" in corpus.describe()
    assert find(task, streaming=True)[0][0].fingerprint == corpus.fingerprint


def test_a_stream_too_short_to_hold_documents_out_is_refused(find, monkeypatch):
    monkeypatch.setattr(own_tasks, "_MAX_SURVEYED", 19)
    with pytest.raises(
        DataConfigError, match="'own_one' has 19 documents, too few to hold any out"
    ):
        find("own_one", streaming=True)


def test_changed_lines_are_noticed(find, tmp_path):
    before = find("own_lines")[0][0].fingerprint
    with (tmp_path / "lines.txt").open("a") as file:
        file.write("one more\n")
    assert find("own_lines")[0][0].fingerprint != before


def test_a_mixture_brings_its_rates(find):
    found = find("own_mix")
    assert {corpus.name: float(share) for corpus, share in found} == {
        "own_both": 0.75,
        "own_one": 0.25,
    }
    names = {corpus.name for corpus, _ in find("own_and_stdlib")}
    assert names == {"own_one", "stdlib"}


@pytest.mark.parametrize(
    ("task", "module", "message"),
    [
        ("own_boht", "my_tasks", "'own_boht' is not registered by .*write one of own_both"),
        ("own_both", "no_tasks", "data.module='no_tasks' cannot be imported: ModuleNotFound"),
        ("own_both", "broken_tasks", "cannot be imported: .*no_such_module_at_all"),
        ("own_zero", "my_tasks", "gives 'own_both' the rate 0; it must be above zero"),
        ("own_neither", "my_tasks", "has no split `train`, only test"),
    ],
)
def test_what_cannot_be_used_is_explained(find, task, module, message):
    with pytest.raises(DataConfigError, match=message):
        find(task, module)


def test_a_set_that_is_not_prepared_does_not_stall(find):
    with pytest.raises(DataError, match="'own_tfds' is not prepared: there is no nowhere/c4/en"):
        find("own_tfds")
