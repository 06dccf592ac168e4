import dataclasses
from fractions import Fraction

import pytest

from data.config import Data, Files, Mixture, Part, Task, leaves, with_options
from data.errors import DataConfigError

MIXTURE = Mixture((Part(Task("t"), Fraction(3)), Part(Files("a/*.txt"), Fraction(1, 3))))


def test_a_resumed_run_may_change_where_its_text_lies_but_not_its_order():
    free = {
        field.name
        for field in dataclasses.fields(Data)
        if field.metadata.get("on_resume") == "may_change"
    }
    vocabulary = {"vocabulary", "vocabulary_style", "vocabulary_size", "vocabulary_bytes"}
    assert free == {"source", *vocabulary, "allow_change", "cache_dir"}


def test_the_numbers_of_a_vocabulary_are_above_zero():
    with pytest.raises(DataConfigError, match="data.vocabulary_size=0 must be above zero"):
        Data(vocabulary_size=0)
    with pytest.raises(DataConfigError, match="data.vocabulary_bytes=-1 must be above zero"):
        Data(vocabulary_bytes=-1)


def test_a_mixture_is_parsed_from_what_it_is_called():
    assert Mixture.parse(["t=3", "a/*.txt=1/3"]) == MIXTURE
    assert MIXTURE.setting == "data.mixture='t=3 a/*.txt=1/3'"
    assert (Task().setting, Files("a").setting) == ("data.task='stdlib'", "data.files='a'")


def test_a_rate_is_above_zero():
    with pytest.raises(DataConfigError, match="data.mixture has 'stdlib=0': a rate must be above"):
        Part(Task(), Fraction(0))


def test_leaves_are_the_sources_of_the_parts():
    assert leaves(MIXTURE) == (Task("t"), Files("a/*.txt"))
    assert leaves(Task()) == (Task(),)


def test_options_go_to_the_sources_that_have_them():
    options = {"module": "m", "field": "f"}
    assert with_options(Task("t"), options) == Task("t", "m")
    assert with_options(MIXTURE, options) == Mixture(
        (Part(Task("t", "m"), Fraction(3)), Part(Files("a/*.txt", field="f"), Fraction(1, 3)))
    )
