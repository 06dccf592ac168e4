from fractions import Fraction

import pytest

from data import catalog
from data.config import Data, Files, Mixture, Source, Task
from data.errors import DataConfigError, DataError
from tests.data.samples import small_documents


@pytest.fixture
def folder(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for document in small_documents(30):
            (tmp_path / name / document.name).write_text(document.text)
    return tmp_path


def find(folder, source: Source):
    return catalog.find(Data(source=source), folder / "cache")


def test_one_glob_is_the_whole_of_every_batch(folder):
    ((corpus, share),) = find(folder, Files(f"{folder}/one/*.py"))
    assert share == 1
    assert corpus.source == f"data.files='{folder}/one/*.py'"
    assert catalog.find(Data(), folder / "cache")[0][0].name == "stdlib"


def test_the_parts_of_a_mixture_have_shares_in_proportion(folder):
    parts = (f"{folder}/one/*.py=0.3", f"{folder}/two/*.py=0.6", "stdlib=1/10")
    found = find(folder, Mixture.parse(parts))
    assert [share for _, share in found] == [Fraction(3, 10), Fraction(6, 10), Fraction(1, 10)]
    assert len({corpus.name for corpus, _ in found}) == 3


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("x/*.py", "write SOURCE=RATE"),
        ("x/*.py=", "write SOURCE=RATE"),
        ("=1", "write SOURCE=RATE"),
        ("x/*.py=often", "write SOURCE=RATE"),
        ("x/*.py=1/0", "write SOURCE=RATE"),
        ("x/*.py=inf", "write SOURCE=RATE"),
        ("x/*.py=0", "a rate must be above zero"),
        ("x/*.py=-2", "a rate must be above zero"),
        ("stdlibs=1", "data.task='stdlibs' is not a known task"),
    ],
)
def test_a_part_that_makes_no_sense_is_explained(folder, part, message):
    with pytest.raises(DataConfigError, match=message):
        find(folder, Mixture.parse([part]))


def test_a_source_that_comes_twice_is_explained(folder):
    with pytest.raises(DataConfigError, match="'stdlib' twice"):
        find(folder, Mixture.parse(["stdlib=1", "stdlib=2"]))


def test_a_part_without_files_is_explained(folder):
    with pytest.raises(DataError, match="matches no file"):
        find(folder, Mixture.parse(["nowhere/*.txt=1"]))


def test_an_unknown_task_gets_the_nearest_names(folder):
    with pytest.raises(DataConfigError, match=r"data\.task='stdlibs' .* write one of stdlib, "):
        find(folder, Task("stdlibs"))


def test_an_empty_separator_is_explained():
    with pytest.raises(DataConfigError, match=r"data\.separator=''"):
        Files("a.txt", separator="")
