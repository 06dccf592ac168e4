"""The flags of a run's text, and the source that they make."""

from dataclasses import dataclass
from fractions import Fraction

import pytest

from data import command
from data.config import Data, Files, Mixture, PaperMixture, Part, PublishedSource, Source, Task
from data.errors import DataConfigError


@dataclass(frozen=True)
class Command:
    data: Data = Data()


def parse(*argv: str, default: Source = Task()) -> Data:
    parsed = command.parse(
        Command, list(argv), prog="read", description="Read.", default=Command(Data(source=default))
    )
    return parsed.data


@pytest.mark.parametrize(
    ("flags", "source"),
    [
        ([], Task()),
        (["--task=c4_en"], Task("c4_en")),
        (["--task", "c4_en", "--data-dir", "x"], Task("c4_en", data_dir="x")),
        (["--data.task=c4_en", "--data_dir=x_y"], Task("c4_en", data_dir="x_y")),
        (["--data.data_dir", "x"], Task(data_dir="x")),
        (["--data.module=m", "--data.task=t"], Task("t", "m")),
        (["--data.files", "a_b/*.txt"], Files("a_b/*.txt")),
        (["--data.files=a", "--data.field=f"], Files("a", field="f")),
        (["--data.files=a", "--data.separator", r"\n"], Files("a", separator=r"\n")),
        (["--data.files=a", "--data.on-error=skip"], Files("a", on_error="skip")),
        (["--data.files=a", "--data.on_error", "skip"], Files("a", on_error="skip")),
        (["--data.mixture=paper"], PaperMixture()),
        (["--data.mixture", "paper", "--data-dir=d"], PaperMixture(data_dir="d")),
        (["--data.files=a", "--data.files=None", "--task=t"], Task("t")),
        (
            ["--data.mixture", "stdlib=3", "notes/**/*.txt=1/2", "--data.field=f", "--data-dir=d"],
            Mixture(
                (
                    Part(Task(data_dir="d"), Fraction(3)),
                    Part(Files("notes/**/*.txt", field="f"), Fraction(1, 2)),
                )
            ),
        ),
    ],
)
def test_flags_name_a_source(flags, source):
    assert parse(*flags) == Data(source=source)


def test_the_other_flags_keep_their_defaults_and_change():
    changed = parse("--data.streaming", "--data.packing=whole", "--data.cache-dir=c")
    assert changed == Data(streaming=True, packing="whole", cache_dir="c")


def test_a_run_on_a_papers_mixture_keeps_its_sources_and_takes_another_folder():
    run = PaperMixture((PublishedSource("Books", 100, None, "pg19"),), "d")
    assert parse(default=run).source == run
    assert parse("--data-dir=e", default=run).source == PaperMixture(run.sources, "e")
    assert parse("--task=c4_en", default=run).source == Task("c4_en", data_dir="d")
    with pytest.raises(DataConfigError, match=r"field=f does not apply to data\.mixture='paper'"):
        parse("--data.field=f", default=run)


RUN = Files("run/*.jsonl", field="body", on_error="skip")


@pytest.mark.parametrize(
    ("flags", "source"),
    [
        ([], RUN),
        (["--data.field=f"], Files("run/*.jsonl", field="f", on_error="skip")),
        (["--data.files=new"], Files("new", field="body", on_error="skip")),
        (["--data.files=new", "--data.field=f"], Files("new", field="f", on_error="skip")),
        (["--task=t"], Task("t")),
        (
            ["--data.mixture", "t=1", "a.txt=1"],
            Mixture(
                (
                    Part(Task("t"), Fraction(1)),
                    Part(Files("a.txt", field="body", on_error="skip"), Fraction(1)),
                )
            ),
        ),
    ],
)
def test_a_checkpoints_source_is_the_default(flags, source):
    assert parse(*flags, default=RUN).source == source


def test_options_reach_every_part_of_a_mixture_that_has_them():
    mixture = Mixture.parse(["t=1", "a.txt=1", "b.txt=1"])
    assert parse("--data.field=f", default=mixture).source == Mixture(
        tuple(
            Part(source, Fraction(1))
            for source in (Task("t"), Files("a.txt", field="f"), Files("b.txt", field="f"))
        )
    )


def test_the_parts_of_a_checkpoints_mixture_keep_their_own_options():
    parts = (Part(Files("a", field="f"), Fraction(1)), Part(Files("b", field="g"), Fraction(1)))
    assert parse(default=Mixture(parts)).source == Mixture(parts)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task=t", "--data.files=f"], "--data.task=t and --data.files=f exclude each other"),
        (["--task=t", "--data.mixture", "a=1", "b=2"], "t and --data.mixture a=1 b=2 exclude"),
        (["--data.files=f", "--data.mixture", "a=1"], "exclude each other; write one"),
        (["--data.field=f"], "--data.field=f does not apply to data.task='stdlib'.*--data.files"),
        (["--task=t", "--data.on-error=skip"], "--data.on-error=skip does not apply"),
        (["--data.files=f", "--data.module=m"], "--data.module=m does not .*--data.task"),
        (["--data.files=f", "--data-dir=d"], "--data.data-dir=d does not apply to data.files='f'"),
        (["--data.mixture", "t=1", "--data.separator=s"], "--data.separator=s does not apply"),
        (["--data.mixture", "t"], "data.mixture has 't'; write SOURCE=RATE"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags, message):
    with pytest.raises(DataConfigError, match=message):
        parse(*flags)


def test_help_lists_every_flag(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for flag in (
        "--task",
        "--data.task",
        "--data.files",
        "--data.mixture",
        "--data.module",
        "--data.field",
        "--data.separator",
        "--data.on-error",
        "--data-dir",
        "--data.data-dir",
        "--data.streaming",
        "--data.vocabulary",
    ):
        assert f"{flag} " in text or f"{flag}," in text
    assert "data.source" not in text
    assert "the Python standard library's own source" in text
