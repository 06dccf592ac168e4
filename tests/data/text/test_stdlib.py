from data.text.stdlib import stdlib_corpus
from data.text.survey import SPLITS


def test_the_standard_library_is_split_into_varied_parts(tmp_path):
    stdlib = stdlib_corpus(tmp_path)
    train, validation = (list(stdlib.documents(split)) for split in SPLITS)
    assert sum(len(d.text.encode()) for d in train) > 5_000_000
    assert 150_000 < sum(len(d.text.encode()) for d in validation) < 350_000
    assert len({document.name.split("/")[0] for document in validation}) >= 10
    for document in train + validation:
        assert document.name.endswith(".py")
        assert not {"test", "tests", "site-packages"} & set(document.name.split("/"))
