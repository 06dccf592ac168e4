"""List the commands of the zoo: `python -m zoo`."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

from rich.table import Table

from data.command import new_console, run

COMMANDS = {
    "Understand": ("zoo.describe", "zoo.diff", "zoo.demo", "zoo.plan"),
    "Train": ("zoo.train", "zoo.watch", "zoo.compare", "zoo.verify", "zoo.ngram"),
    "Measure": ("zoo.bench", "zoo.ablate", "zoo.scaling"),
    "Use": ("zoo.sample", "zoo.evaluate", "zoo.convert"),
    "Text": ("data.inspect", "data.vocabulary", "data.prepare"),
}
"""The modules of all commands, by what they are for."""


def main(argv: list[str]) -> int:
    """Print one line for each command, and the next step. Return the exit code.

    With --completion, print the script of the shell completion instead.
    """
    if argv == ["--completion"]:
        from zoo.command_line.completion import script

        print(script(module for modules in COMMANDS.values() for module in modules))
        return 0
    if argv and argv[0] not in ("-h", "--help"):
        named = argv[0].removeprefix("zoo.")
        print(
            f"error: `python -m zoo` only lists the commands; write `python -m zoo.{named}` to run "
            "one",
            file=sys.stderr,
        )
        return 2
    table = Table(box=None, show_header=False, pad_edge=False)
    for group, modules in COMMANDS.items():
        for number, module in enumerate(modules):
            heading = "" if number else f"[bold]{group}[/]"
            table.add_row(heading, f"python -m {module}", summary(module))
    console = new_console()
    console.print("Five years of GPT progress in one JAX/Flax transformer.\n")
    console.print(table)
    console.print(
        '\nEach command has --help. For completion: eval "$(python -m zoo --completion)"'
        "\nFirst step, a few minutes on a laptop without a network:"
        "\n  python -m zoo.train --model=palm_small",
        markup=False,
        soft_wrap=True,
    )
    return 0


def summary(module: str) -> str:
    """Return what a command does: the first line of its docstring, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    first_line = (ast.get_docstring(tree) or "").splitlines()[0]
    return re.split(": `|; or ", first_line)[0].removesuffix(".")


if __name__ == "__main__":
    run(lambda argv: sys.exit(main(argv)))
