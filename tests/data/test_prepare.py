"""The network is replaced by a builder that makes its text up; all else is TensorFlow Datasets."""

import json

import pytest
import seqio
import tensorflow_datasets as tfds

from data import catalog, prepare
from data.config import Data, Task
from data.errors import DataConfigError, DataError
from data.seqio_tasks import tasks

TEXT = {"train": "Enter a king. " * 50, "validation": "Exeunt. " * 9, "test": "Flourish."}


class TinyShakespeare(tfds.core.GeneratorBasedBuilder):
    """The real set's shape."""

    VERSION = tfds.core.Version("1.0.0")
    fails: Exception | None = None

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        if self.fails:
            raise self.fails
        return {split: self._generate_examples(split) for split in TEXT}

    def _generate_examples(self, split):
        yield split, {"text": TEXT[split]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = []

    def builder(tfds_name, data_dir):
        made.append(tfds_name)
        return TinyShakespeare(data_dir=data_dir)

    monkeypatch.setattr(tasks, "tfds_builder", builder)
    yield tmp_path / "sets"
    assert made in ([], ["tiny_shakespeare:1.0.0"])
    seqio.utils.LazyTfdsLoader._MEMOIZED_BUILDERS.clear()


def test_what_is_prepared_can_be_read_and_is_not_prepared_twice(folder, tmp_path, capsys):
    flags = ["--task=tiny_shakespeare", f"--data-dir={folder}", "--json"]
    prepare.main(flags)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "task": "tiny_shakespeare",
        "set": "tiny_shakespeare:1.0.0",
        "data_dir": str(folder),
        "documents": {"train": 1, "validation": 1},
    }
    assert f"--data.task=tiny_shakespeare --data.data-dir={folder}" in printed.err
    prepare.main(flags)
    assert "is in" in capsys.readouterr().err
    config = Data(source=Task("tiny_shakespeare", data_dir=str(folder)))
    ((corpus, _),) = catalog.find(config, tmp_path / "cache")
    assert list(corpus.texts("train")) == [TEXT["train"]]
    assert list(corpus.texts("validation")) == [TEXT["validation"]]


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (ImportError("No module", name="apache_beam"), "apache_beam, which is not installed"),
        (
            OSError("No route to host"),
            "could not be prepared in .*: No route to host; run the same",
        ),
        (RuntimeError(), r"could not be prepared in .*: RuntimeError\(\); run the same"),
    ],
)
def test_what_goes_wrong_is_explained(folder, monkeypatch, fails, message):
    monkeypatch.setattr(TinyShakespeare, "fails", fails)
    with pytest.raises(DataError, match=message):
        prepare.main(["--task=tiny_shakespeare", f"--data-dir={folder}"])


def test_a_task_that_needs_no_preparing_is_explained():
    with pytest.raises(
        DataConfigError, match="'stdlib' needs no preparing; write --task with one of tiny_"
    ):
        prepare.main(["--task=stdlib"])
