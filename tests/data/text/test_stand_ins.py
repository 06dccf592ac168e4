"""A paper's mixture over sets that are prepared, or not."""

import json
from fractions import Fraction

import pytest

import configs
from data import catalog
from data.batches.sizes import BatchSizes
from data.batches.streaming import Stream
from data.config import Data, Mixture, PaperMixture, Part, PublishedSource, Task
from data.errors import DataConfigError, DataError
from data.text.stand_ins import StandIns
from data.text.tfds_sets import SETS
from data.training_data import load
from tests.data.tfds_folders import store_set

SOURCES = (
    PublishedSource("Crawl", 60.0, 0.44, "c4_en"),
    PublishedSource("Books A", 4.5, None, "pg19"),
    PublishedSource("Code", 20, None, None),
    PublishedSource("Books B", 8, 2, "pg19"),
    PublishedSource("Wiki", 7.5, 3.4, "wikipedia_en"),
)


def prepare(folder, *tasks: str) -> None:
    """Leave the description of a prepared set, which is all that is looked for."""
    for task in tasks:
        version = folder / SETS[task].name / SETS[task].version
        version.mkdir(parents=True)
        splits = [{"name": name, "shardLengths": ["9"]} for name in ("train", "validation")]
        (version / "dataset_info.json").write_text(json.dumps({"splits": splits}))


def mixture(folder) -> PaperMixture:
    return PaperMixture(SOURCES, data_dir=str(folder))


def test_what_is_not_prepared_is_left_out_and_the_rest_has_all_of_the_batch(tmp_path):
    prepare(tmp_path, "c4_en", "pg19")
    corpora = catalog.find(Data(source=mixture(tmp_path)), tmp_path / "cache")
    shares = {corpus.name: share for corpus, share in corpora}
    assert shares == {"c4_en": Fraction(60, 1) / Fraction(145, 2), "pg19": Fraction(25, 145)}
    assert list(catalog.notes(mixture(tmp_path))) == [
        (
            "the paper's mixture, 72.5% of it from stand-ins: Crawl 60% (c4_en), "
            "Books A 4.5% (pg19), Books B 8% (pg19)"
        ),
        (
            "left out, with the other rates scaled up: for lack of a prepared stand-in Wiki 7.5% "
            "(wikipedia_en); for lack of any Code 20%"
        ),
    ]


def test_a_stand_in_for_several_sources_has_all_their_rates(tmp_path):
    prepare(tmp_path, "pg19")
    found = StandIns.find(mixture(tmp_path)).mixture(str(tmp_path))
    assert found == Mixture((Part(Task("pg19", data_dir=str(tmp_path)), Fraction(25, 2)),))


def test_if_nothing_is_left_out_nothing_is_said_of_it(tmp_path):
    prepare(tmp_path, "pg19")
    only_books = PaperMixture((PublishedSource("Books", 100, 100, "pg19"),), str(tmp_path))
    assert list(catalog.notes(only_books)) == [
        "the paper's mixture, 100% of it from stand-ins: Books 100% (pg19)"
    ]


def test_without_any_stand_in_every_command_that_prepares_one_is_named(tmp_path):
    with pytest.raises(DataError) as error:
        catalog.find(Data(source=mixture(tmp_path)), tmp_path)
    message = str(error.value)
    assert f"data.mixture='paper' finds none of its stand-ins in {tmp_path}: Crawl 60%" in message
    for task in ("c4_en", "pg19", "wikipedia_en"):
        assert message.count(f"python -m data.prepare --task={task} --data-dir={tmp_path}\n") == 1


def test_a_damaged_stand_in_is_not_left_out(tmp_path):
    prepare(tmp_path, "c4_en", "pg19")
    next((tmp_path / "pg19").rglob("dataset_info.json")).write_text("{}")
    with pytest.raises(DataError, match="pg19/0.1.1 is damaged"):
        catalog.find(Data(source=mixture(tmp_path)), tmp_path / "cache")


def test_without_a_model_there_is_no_paper(tmp_path):
    with pytest.raises(DataConfigError, match="'paper' needs a command that takes --model"):
        catalog.find(Data(source=PaperMixture()), tmp_path)


@pytest.mark.parametrize("family", configs.FAMILIES)
def test_every_stand_in_of_the_zoo_is_a_set(family):
    for source in configs.FAMILIES[family].PAPER.mixture:
        assert source.stand_in is None or source.stand_in in SETS


def test_a_run_reads_the_mixture_and_says_so(tmp_path):
    pages = [f"Page {i}.\n" + f"It says {i * i}.\n" * 20 for i in range(40)]
    books = [f"Book {i}.\n" + "Once upon a time.\n" * 40 for i in range(40)]
    for task, field, texts in (("c4_en", "text", pages), ("pg19", "book_text", books)):
        splits = {"train": texts[3:], "validation": texts[:3]}
        tfds_set = SETS[task]
        store_set(tmp_path, tfds_set.name, [field], field, splits, tfds_set.version, ordered=True)
    lines: list[str] = []
    config = Data(source=mixture(tmp_path), cache_dir=str(tmp_path / "cache"), packing="unmasked")
    run = load(
        config, vocab_size=300, seq_len=32, sizes=BatchSizes.constant(29), report=lines.append
    )
    assert lines[0].startswith("the paper's mixture, 72.5% of it")
    assert lines[1].startswith("left out")
    assert "82.8% of every batch" in lines[2]
    assert set(run.fingerprint) > {"corpus c4_en", "corpus pg19"}
    assert not isinstance(run.train, Stream)
    counters = run.train.counters(100)
    assert counters["data/epochs/c4_en"] > counters["data/epochs/pg19"] > 0
