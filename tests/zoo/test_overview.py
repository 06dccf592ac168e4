"""`python -m zoo` shows every command on one screen."""

from pathlib import Path

from zoo import __main__ as overview

REPOSITORY = Path(__file__).parents[2]


def test_all_commands_are_listed_with_what_they_do():
    listed = [module for modules in overview.COMMANDS.values() for module in modules]
    commands = [
        f"{folder}.{path.stem}"
        for folder in ("zoo", "data")
        for path in (REPOSITORY / folder).glob("*.py")
        if path.stem != "__main__" and 'if __name__ == "__main__"' in path.read_text()
    ]
    assert sorted(listed) == sorted(commands)
    assert all(len(overview.summary(module)) > 10 for module in listed)


def test_one_screen(capsys):
    assert overview.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 82
    assert "python -m zoo.train --model=palm_small" in lines[-1]


def test_an_argument_is_refused_with_the_right_command(capsys):
    assert overview.main(["train", "--model=palm_small"]) == 2
    assert "write `python -m zoo.train`" in capsys.readouterr().err
