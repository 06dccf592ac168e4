"""Sets made here and read through the real reader of TensorFlow Datasets."""

import itertools
import json
import shutil
from collections import Counter
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import seqio
import tensorflow as tf

from data import catalog, evaluation_text
from data.batches.rows import TokenWindows
from data.batches.sizes import BatchSizes
from data.config import Data, Files, Mixture, Task, with_options
from data.errors import DataConfigError, DataError
from data.text import tfds_sets
from data.training_data import load
from tests.data.tfds_folders import store_set

FEATURES = {
    "c4_webtextlike": ("text", "url"),
    "wikipedia_en": ("title", "text"),
    "pg19": ("book_title", "book_text"),
    "arxiv": ("article", "abstract", "section_names"),
    "reddit": ("author", "content", "body", "summary"),
    "dolma": ("id", "text", "added", "created", "source"),
}
"""Features of some of the sets, as their builders in TensorFlow Datasets name them."""
C4_FEATURES = ("text", "url", "timestamp", "content-type", "content-length")
TRAIN = [f"Page {i}.\n" + f"It says {i * i} and \u2581 é.\n" * 20 for i in range(60)]
VALIDATION = [f"Held-out page {i}.\n" + "It says nothing.\n" * 20 for i in range(6)]


def make_set(
    data_dir, splits: dict[str, list[str]], version: str = "3.1.0", *, ordered: bool = True
) -> None:
    """A set shaped like c4/en, whose files must be read in order if it is `ordered`."""
    store_set(data_dir, "c4/en", C4_FEATURES, "text", splits, version, ordered=ordered)


@pytest.fixture(scope="module")
def c4(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    make_set(folder, {"train": [*TRAIN, VALIDATION[2]], "validation": VALIDATION})
    return folder


@pytest.fixture(autouse=True)
def forget_builders():
    yield
    seqio.utils.LazyTfdsLoader._MEMOIZED_BUILDERS.clear()


def c4_en(data_dir) -> Task:
    return Task("c4_en", data_dir=str(data_dir))


def read(config: Data, folder):
    ((corpus, _),) = catalog.find(config, folder)
    return corpus, {split: list(corpus.texts(split)) for split in ("train", "validation")}


def test_a_set_is_read_and_held_out_text_is_not_trained_on(c4, tmp_path):
    corpus, texts = read(Data(source=c4_en(c4)), tmp_path)
    assert sorted(texts["train"]) == sorted(TRAIN)
    assert texts["validation"] == VALIDATION
    assert corpus.describe() == "61 documents to train on, 6 held out"


@pytest.mark.parametrize("task", FEATURES)
def test_text_is_in_the_feature_and_the_split_that_the_set_has(task, tmp_path):
    tfds_set = tfds_sets.SETS[task]
    splits = {"train": TRAIN, "validation": VALIDATION}
    if tfds_set.held_out == "train":
        splits = {"train": [*VALIDATION, *TRAIN]}
    features, version = FEATURES[task], tfds_set.version
    store_set(tmp_path, tfds_set.name, features, tfds_set.field, splits, version, ordered=True)
    corpus, texts = read(Data(source=Task(task, data_dir=str(tmp_path))), tmp_path / "cache")
    assert sorted([*texts["train"], *texts["validation"]]) == sorted([*TRAIN, *VALIDATION])
    assert not set(texts["train"]) & set(texts["validation"])
    assert texts["validation"] == VALIDATION
    assert corpus.describe() == "60 documents to train on, 6 held out"


def test_a_set_without_a_validation_split_can_be_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr("data.batches.streaming.num_cores", lambda: 1)
    splits, features = {"train": [*VALIDATION, *TRAIN]}, FEATURES["wikipedia_en"]
    store_set(tmp_path, "wikipedia/20230601.en", features, "text", splits, "1.0.0", ordered=False)
    source = Task("wikipedia_en", data_dir=str(tmp_path))
    config = Data(source=source, cache_dir=str(tmp_path / "cache"), streaming=True)
    streamed = load(config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(4), report=print)
    with closing(streamed.read_from(0, None, print)) as reader:
        batches = [reader.train_batch(step)["targets"] for step in range(180)]
        assert reader.counters(180)["data/epochs"] > 1
    text = streamed.vocabulary.decode(np.concatenate(batches).ravel().tolist())
    assert isinstance(streamed.validation, TokenWindows)
    held_out = streamed.vocabulary.decode(streamed.validation.tokens.tolist())
    for page in splits["train"]:
        title = page.partition("\n")[0]
        assert (title in text) != (title in held_out)


def test_the_rest_of_an_unfinished_preparation_is_ignored(c4, tmp_path):
    (version,) = (path.parent for path in c4.rglob("dataset_info.json"))
    shutil.copytree(version, version.with_name(f"{version.name}.incompleteABC"))
    _, texts = read(Data(source=c4_en(c4)), tmp_path)
    assert sorted(texts["train"]) == sorted(TRAIN)


def test_the_environment_names_the_folder_too(c4, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(c4))
    _, texts = read(Data(source=Task("c4_en")), tmp_path)
    assert texts["validation"] == VALIDATION
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=f"--data-dir={tmp_path}"):
        tfds_sets.find_prepared("c4_en", None)
    assert tfds_sets.find_prepared("c4_en", str(c4)).data_dir == str(c4)


def test_only_the_beginning_of_a_large_validation_split_is_held_out(c4, tmp_path, monkeypatch):
    few = tfds_sets.TfdsSet("c4/en", "3.1.0", "validation", 4)
    monkeypatch.setitem(dict(tfds_sets.SETS), "c4_en", few)
    monkeypatch.setattr(tfds_sets, "SETS", {"c4_en": few})
    _, texts = read(Data(source=c4_en(c4)), tmp_path)
    assert texts["validation"] == VALIDATION[:4]


def test_training_reads_a_set_once_and_without_tensorflow_again(c4, tmp_path, monkeypatch):
    config = Data(source=c4_en(c4), cache_dir=str(tmp_path))

    def load_it(report):
        return load(config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(4), report=report)

    first = load_it(print)
    monkeypatch.setattr(catalog.PresplitCorpus, "_read", lambda *_: pytest.fail("read again"))
    lines: list[str] = []
    again = load_it(lines.append)
    assert again.fingerprint == first.fingerprint
    assert [line.split(" ")[0] for line in lines] == ["text:", "vocabulary:"]
    assert first.num_validation_bytes == sum(len(text.encode()) for text in VALIDATION)


def test_a_stream_has_the_documents_of_the_cache_and_no_cache(tmp_path, monkeypatch):
    """Each document comes once an epoch, with the same ids; held-out ones do not come."""
    monkeypatch.setattr("data.batches.streaming.num_cores", lambda: 1)
    make_set(tmp_path, {"train": [*TRAIN, VALIDATION[2]], "validation": VALIDATION}, ordered=False)
    config = Data(source=c4_en(tmp_path), cache_dir=str(tmp_path / "cache"))

    def load_it(config: Data, report=print):
        return load(config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(4), report=report)

    cached = load_it(config)
    lines: list[str] = []
    streamed = load_it(
        replace(config, streaming=True, cache_dir=str(tmp_path / "other")), lines.append
    )
    assert [line.split(" ")[0] for line in lines] == ["text:", "vocabulary:", "encoded"]
    assert not list((tmp_path / "other").rglob("train.tokens"))
    assert streamed.vocabulary.fingerprint == cached.vocabulary.fingerprint
    assert streamed.opening == cached.opening
    assert streamed.num_validation_bytes == cached.num_validation_bytes
    for one, other in zip(
        cached.validation.eval_batches(4), streamed.validation.eval_batches(4), strict=True
    ):
        assert all((one[key] == other[key]).all() for key in one)
    assert streamed.baselines() == cached.baselines()

    assert isinstance(cached.train, TokenWindows)
    with closing(streamed.read_from(0, None, lines.append)) as reader:
        assert "streamed, not cached" in lines[-1]
        num_steps = 2 * len(cached.train) // 4 + 2
        batches = [reader.train_batch(step) for step in range(num_steps)]
        assert reader.counters(num_steps)["data/epochs"] == pytest.approx(2, abs=0.1)
    bos_id = streamed.vocabulary.bos_id
    assert bos_id is not None
    stream = [bos_id, *np.concatenate([batch["targets"].ravel() for batch in batches]).tolist()]
    ends = np.flatnonzero(np.array(stream) == bos_id)[: 2 * len(TRAIN) + 1]
    documents = [tuple(stream[start:end]) for start, end in itertools.pairwise(ends.tolist())]
    ends = np.flatnonzero(np.append(cached.train.tokens, bos_id) == bos_id).tolist()
    expected = Counter(
        tuple(cached.train.tokens[start:end].tolist()) for start, end in itertools.pairwise(ends)
    )
    assert Counter(documents[: len(TRAIN)]) == Counter(documents[len(TRAIN) :]) == expected
    assert documents[: len(TRAIN)] != documents[len(TRAIN) :]


@pytest.mark.parametrize("source", [None, Task("stdlib"), Files("a.txt")])
def test_a_streamed_run_is_evaluated_without_its_training_text(c4, tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Data(source=c4_en(c4), cache_dir=str(tmp_path), streaming=True)
    run = load(config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(4), report=print)
    (tmp_path / "a.txt").write_text(TRAIN[3])
    lines: list[str] = []
    text = evaluation_text.load(
        config,
        run.fingerprint,
        source=source,
        cache_dir=None,
        vocabulary=run.vocabulary,
        seq_len=32,
        batch_size=4,
        report=lines.append,
    )
    assert text.warning is None
    if source is None:
        assert text.num_bytes == run.num_validation_bytes
        assert not list(tmp_path.rglob("train.tokens"))
    assert any("it is not searched" in line for line in lines) == isinstance(source, Files)


def test_a_stream_has_another_fingerprint_than_a_cache(c4, tmp_path):
    config = Data(source=c4_en(c4), cache_dir=str(tmp_path))

    def fingerprint(config: Data, rows: slice):
        loaded = load(
            config,
            vocab_size=300,
            seq_len=32,
            sizes=BatchSizes.constant(4),
            rows=rows,
            report=lambda _: None,
        )
        return loaded.fingerprint

    cached, one = (fingerprint(replace(config, streaming=s), slice(4)) for s in (False, True))
    two = fingerprint(replace(config, streaming=True), slice(2, 4))
    assert one.items() - cached.items() == {("hosts", 1), ("tensorflow", tf.__version__)}
    assert two.items() - one.items() == {("hosts", 2)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            Data(streaming=True),
            r"data\.task='stdlib' is cached in seconds; leave out data.streaming",
        ),
        (Data(streaming=True, source=Files(__file__)), r"data\.files='.*' is cached in seconds"),
        (
            Data(streaming=True, source=Task("c4_en"), packing="whole"),
            r"data\.packing='whole' plans its",
        ),
        (
            Data(streaming=True, source=Mixture.parse(["c4_en=1", "stdlib=1"])),
            "'stdlib' is cached in seconds",
        ),
    ],
)
def test_text_that_cannot_be_streamed_is_refused_before_anything_is_made(
    c4, tmp_path, config, message
):
    source = with_options(config.source, {"data_dir": str(c4)})
    config = replace(config, source=source, cache_dir=str(tmp_path))
    with pytest.raises(DataConfigError, match=message):
        load(config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(4), report=print)
    assert not list(tmp_path.rglob("*.model"))


def test_a_set_whose_order_is_fixed_cannot_be_streamed(c4, tmp_path):
    config = Data(source=c4_en(c4), cache_dir=str(tmp_path), streaming=True)
    streamed = load(config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(4), report=print)
    with pytest.raises(DataConfigError, match="'c4_en' cannot be streamed: Dataset is an ordered"):
        streamed.read_from(0, None, print)


def test_the_newest_version_is_read_and_has_another_fingerprint(tmp_path):
    make_set(tmp_path, {"train": TRAIN, "validation": VALIDATION}, version="3.0.9")
    old = tfds_sets.find_prepared("c4_en", str(tmp_path))
    make_set(tmp_path, {"train": TRAIN, "validation": VALIDATION}, version="3.0.10")
    new = tfds_sets.find_prepared("c4_en", str(tmp_path))
    assert (old.tfds_name, new.tfds_name) == ("c4/en:3.0.9", "c4/en:3.0.10")
    assert old.fingerprint != new.fingerprint


@pytest.mark.parametrize("task", tfds_sets.SETS)
def test_a_set_that_is_not_prepared_gets_the_command_at_once(task, tmp_path):
    message = (
        f"data.task='{task}' is not prepared.*python -m data.prepare --task={task} --data-dir="
    )
    with pytest.raises(DataError, match=f"(?s){message}{tmp_path}.*data.data_dir or TFDS_DATA_DIR"):
        tfds_sets.find_prepared(task, str(tmp_path))


def test_a_bucket_that_is_out_of_reach_is_not_prepared():
    with pytest.raises(DataError, match=r"(?s)gs://no-such-bucket.*--data-dir=gs://no-such-bucket"):
        tfds_sets.find_prepared("c4_en", "gs://no-such-bucket")


@pytest.mark.parametrize("content", ["", "{}", '{"splits": [{"name": "train"}]}'])
def test_a_damaged_description_is_named(tmp_path, content):
    folder = tmp_path / "c4" / "en" / "3.1.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(DataError, match=f"{folder} is damaged .*python -m data.prepare"):
        tfds_sets.find_prepared("c4_en", str(tmp_path))


def test_a_damaged_shard_is_named(c4, tmp_path):
    make_set(tmp_path, {"train": TRAIN, "validation": VALIDATION})
    (shard,) = tmp_path.rglob("*train.tfrecord*")
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DataError, match="the task 'c4_en' cannot read its train split"):
        read(Data(source=c4_en(tmp_path)), tmp_path / "cache")
    description = json.loads(next(tmp_path.rglob("dataset_info.json")).read_text())
    assert description["splits"]
