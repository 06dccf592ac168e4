import sys
from dataclasses import dataclass

import pytest

from data import command
from data.errors import DataConfigError, DataError


@dataclass(frozen=True)
class Greeting:
    name: str = "you"


def test_flags_fill_a_dataclass_and_mistakes_end_with_2(capsys):
    parsed = command.parse(Greeting, ["--name=Ada"], prog="greet", description="Greets.")
    assert parsed == Greeting("Ada")
    with pytest.raises(SystemExit) as ended:
        command.parse(Greeting, ["--nmae=Ada"], prog="greet", description="Greets.")
    assert ended.value.code == 2
    assert "nmae" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataConfigError("data.task='x' [is] wrong."), 2, "error: data.task='x' [is] wrong."),
        (DataError("a.txt is gone."), 3, "error: a.txt is gone."),
        (KeyboardInterrupt(), 130, "stopped: the same command resumes from here"),
    ],
)
def test_a_users_mistake_is_a_message_and_a_code(error, code, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["greet"])

    def main(argv: list[str]) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        command.run(main)
    assert ended.value.code == code
    assert capsys.readouterr() == ("", said + "\n")


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["greet"])

    def main(argv: list[str]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command.run(main)
