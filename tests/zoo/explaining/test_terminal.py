"""Text and tables laid out for a terminal."""

import io

import pytest
from rich.console import Console

from zoo.explaining.terminal import (
    WIDTH,
    column_widths,
    columns_that_fit,
    show,
    show_entries,
    stdout_console,
    three_digits,
)

ROWS = [["model", "a", "bbbb"], ["x", "aaa", "b"]]


def printed(width: int, text: str, **options) -> list[str]:
    file = io.StringIO()
    show(Console(file=file, width=width), text, **options)
    return file.getvalue().splitlines()


def test_columns_are_left_out_until_the_rest_fits():
    assert column_widths(ROWS) == [5, 3, 4]
    assert columns_that_fit(ROWS, [9, 1, 5], 14) == [0, 1, 2]
    assert columns_that_fit(ROWS, [9, 1, 5], 13) == [0, 2]
    assert columns_that_fit(ROWS, [9, 1, 5], 3) == [0]


def test_lines_wrap_below_their_indent_and_have_no_trailing_space():
    text = "one two three four five six seven eight"
    lines = printed(30, text, indent=8, lead="  name")
    assert lines == ["  name  one two three four", "        five six seven eight"]


def test_a_long_word_is_not_broken_and_brackets_are_no_markup():
    assert printed(10, "[bold] " + "x" * 40) == ["[bold]", "x" * 40]


def test_entries_stand_beside_their_names():
    file = io.StringIO()
    show_entries(Console(file=file, width=80), "Title", [("a", "first\nsecond"), ("long", "third")])
    assert file.getvalue().splitlines() == [
        "",
        "Title",
        "  a     first",
        "        second",
        "  long  third",
    ]


@pytest.mark.parametrize(
    ("value", "words"), [(0.5123, "0.51"), (9.999, "10.00"), (1234.5, "1,234")]
)
def test_short_numbers(value, words):
    assert three_digits(value) == words


def test_a_pipe_is_wide(capsys):
    console = stdout_console()
    assert not console.is_terminal
    assert console.width == WIDTH
