"""Measure a choice of the papers here: `python -m zoo.demo NAME`."""

import json
import shlex
from typing import TYPE_CHECKING, assert_never

from models.config import check
from zoo.command_line import cli
from zoo.common.process import keep_freed_memory
from zoo.lessons.catalog import (
    LESSONS,
    AnyLesson,
    Attention,
    FeedForward,
    Heads,
    Report,
    Vocabularies,
)

if TYPE_CHECKING:
    from zoo.lessons.shown import Shown

PROG = "python -m zoo.demo"


def main(argv: list[str]) -> None:
    """Measure a lesson, print its tables and write its page; without a name, list the lessons."""
    if argv in ([], ["--json"], ["-h"], ["--help"]):
        _list(is_json=argv == ["--json"])
        return
    name, *flags = argv
    check(
        name in LESSONS,
        f"there is no lesson {name!r}; write the name first, one of {', '.join(LESSONS)}",
    )
    kind = LESSONS[name]
    lesson = cli.parse(kind, flags, prog=f"{PROG} {name}", description=f"{kind.line()}.")
    from zoo.common.progress import Progress
    from zoo.distribution.devices import configure
    from zoo.explaining.tables import show_tables
    from zoo.explaining.terminal import show, stdout_console
    from zoo.reporting.output import write_out

    configure()
    found = _shown(lesson, Progress(cli.console).line)
    write_out(lesson.out, found.content(lesson.out, shlex.join([*PROG.split(), *argv])))
    if lesson.json:
        print(json.dumps({"lesson": name, **found.to_json(), "out": lesson.out}))
        return
    console = stdout_console()
    show_tables(console, found.tables)
    show(console, "\nSeen", style="bold")
    for sentence in found.seen:
        show(console, sentence, indent=2)
    cli.console.print(f"\nwrote {lesson.out}", markup=False, soft_wrap=True)


def _shown(lesson: AnyLesson, report: Report) -> "Shown":
    """Measure the lesson."""
    match lesson:
        case Heads():
            from zoo.lessons.heads import show

            return show(lesson, report)
        case Attention():
            from zoo.lessons.attention import show

            return show(lesson, report)
        case FeedForward():
            from zoo.lessons.feed_forward import show

            return show(lesson, report)
        case Vocabularies():
            from zoo.lessons.vocabularies import show

            return show(lesson, report)
        case _:
            assert_never(lesson)


def _list(*, is_json: bool) -> None:
    lines = {name: kind.line() for name, kind in LESSONS.items()}
    if is_json:
        print(json.dumps({"lessons": lines}))
        return
    from zoo.explaining.terminal import show, show_entries, stdout_console

    console = stdout_console()
    show(console, f"usage: {PROG} [-h] {{{','.join(LESSONS)}}}")
    show_entries(console, "Lessons, each measured here in a minute or two", lines.items())
    show(console, f"\n`{PROG} {next(iter(LESSONS))} --help` lists the sizes that its flags change.")


if __name__ == "__main__":
    keep_freed_memory()
    cli.run(main)
