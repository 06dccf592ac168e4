"""`python -m zoo` shows every command on one screen."""

from pathlib import Path

from zoo import __main__ as overview

REPOSITORY = Path(__file__).parents[2]


def test_all_commands_are_listed_with_what_they_do():
    listed = [module for modules in overview.COMMANDS.values() for module in modules]
    files = [
        path.relative_to(REPOSITORY)
        for folder in ("zoo", "data")
        for pattern in ("*.py", "*/__main__.py")
        for path in (REPOSITORY / folder).glob(pattern)
        if 'if __name__ == "__main__"' in path.read_text()
    ]
    commands = [".".join(path.with_suffix("").parts).removesuffix(".__main__") for path in files]
    commands.remove("zoo")  # the list itself
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
